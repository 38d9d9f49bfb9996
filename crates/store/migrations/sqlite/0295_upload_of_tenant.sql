-- A tenant's own administrators look at its files, newest first.
CREATE INDEX stored_upload_tenant_idx ON stored_upload (tenant, id);
