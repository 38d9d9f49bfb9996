//! nginx in three parts: the product behind everybody, and two contestants.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::contestants::{Launched, Running, Stage, invented, launch};
use super::request::{HOST, Session};
use crate::process::{Process, tethered};
use crate::services;
use crate::tools::{Tool, Toolbox};

/// The product and the authorization service that does nothing; both stop with this value.
pub(super) struct Backstage {
    _process: Process,
    pub(super) upstream: SocketAddr,
    pub(super) authority: SocketAddr,
}

impl Backstage {
    pub(super) fn start(tools: &Toolbox, folder: &Path) -> Result<Self> {
        let second = services::free_port()?;
        let server = services::start("backstage", folder, |first| {
            let servers = format!(
                "server {{ listen 127.0.0.1:{first} backlog=1024; default_type application/json;
                   location / {{ return 200 '{{\"messages\":[],\"conversation\":\"0190f3a2\",\"next\":null}}'; }} }}
                 server {{ listen 127.0.0.1:{second} backlog=1024; location / {{ return 204; }} }}"
            );
            command(tools, folder, "backstage", &servers)
        })?;
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Self {
            upstream: address(server.port),
            _process: server.process,
            authority: address(second),
        })
    }
}

pub(super) fn start_plain(stage: &Stage) -> Result<Running> {
    start("nginx", stage, "", "")
}

/// Limits that nobody reaches: what is measured is the check.
pub(super) fn start_guarded(stage: &Stage) -> Result<Running> {
    let http = format!(
        "upstream authority {{ server {}; keepalive 64; keepalive_requests 1000000; }}
         limit_req_zone $binary_remote_addr zone=address:10m rate=1000000r/s;
         limit_req_zone $cookie_session zone=session:10m rate=1000000r/s;",
        stage.authority
    );
    let location = "limit_req zone=address burst=100000 nodelay;
                    limit_req zone=session burst=100000 nodelay;
                    auth_request /auth;";
    start("nginx-guarded", stage, &http, location)
}

fn start(name: &str, stage: &Stage, http: &str, location: &str) -> Result<Running> {
    let launched = launch(name, stage, &Session::invented(0).head(), |port| {
        let upstream = stage.upstream;
        // Nothing but `auth_request` asks for the second location, and only where `authority` is defined.
        let authorize = if http.is_empty() {
            ""
        } else {
            "location = /auth { internal; proxy_pass http://authority; proxy_pass_request_body off;
               proxy_set_header Content-Length ''; proxy_http_version 1.1; proxy_set_header Connection ''; }"
        };
        let servers = format!(
            "upstream product {{ server {upstream}; keepalive 64; keepalive_requests 1000000; }}
             {http}
             server {{ listen 127.0.0.1:{port} backlog=1024;
               location / {{ {location} proxy_pass http://product; proxy_http_version 1.1;
                 proxy_set_header Host $host; proxy_set_header Connection ''; }}
               {authorize} }}"
        );
        command(stage.tools, stage.folder, name, &servers)
    })?;
    launched.with_sessions(name, stage, &invented(stage))
}

/// For bodies of any size, handed on while they come.
pub(super) fn start_for_files(stage: &Stage) -> Result<Launched> {
    let head = format!("GET /bench/plain HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    launch("nginx-files", stage, &head, |port| {
        let upstream = stage.upstream;
        let servers = format!(
            "upstream product {{ server {upstream}; keepalive 64; }}
             server {{ listen 127.0.0.1:{port} backlog=1024; client_max_body_size 0; proxy_request_buffering off;
               location / {{ proxy_pass http://product; proxy_http_version 1.1;
                 proxy_set_header Host $host; proxy_set_header Connection ''; }} }}"
        );
        command(stage.tools, stage.folder, "nginx-files", &servers)
    })
}

/// An nginx with one worker per core that stays in the foreground and writes under `folder` only.
fn command(tools: &Toolbox, folder: &Path, name: &str, http: &str) -> Result<Command> {
    let own = folder.join(name);
    fs::create_dir_all(&own)?;
    let here = own.display();
    let file = own.join("nginx.conf");
    let text = format!(
        "daemon off; worker_processes auto; pid {here}/pid; error_log stderr warn;
         events {{ worker_connections 2048; }}
         http {{
           access_log off; keepalive_requests 100000000;
           client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/fastcgi;
           uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;
           {http}
         }}\n"
    );
    fs::write(&file, text)?;
    let mut command = tethered(tools.path(Tool::Nginx)?, None)?;
    command.arg("-e").arg("stderr").arg("-c").arg(&file);
    Ok(command)
}
