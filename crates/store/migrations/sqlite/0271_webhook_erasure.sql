-- What a message said may have been erased, while its row stays: a second one of the same event is still known.
-- One that waits to be delivered is erased at the end of its way.
ALTER TABLE webhook_delivery ADD COLUMN erase_asked_at INTEGER;
ALTER TABLE webhook_delivery ADD COLUMN erased_at INTEGER;
