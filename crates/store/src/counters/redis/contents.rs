//! What stands in Redis below a namespace, for whoever has to show what does not stand there.

use std::time::Duration;

use portcullis_core::Secret;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, Value, cmd};
use tokio::time::timeout;

use crate::Config;
use crate::counters::{Keys, NotRead};

/// A Redis with more keys, whoever they are of, is not looked through.
const MOST_KEYS: u64 = 1_000_000;
const LIMIT: Duration = Duration::from_secs(30);
const KEYS_AT_ONCE: u32 = 1000;
/// What is written to see that the search finds what is there goes by itself, if it has to.
const MARKER_SECONDS: u32 = 60;

/// Every key of the configured namespace, with all that stands there.
pub async fn contents(config: &Config, url: &Secret<String>) -> Result<Keys, NotRead> {
    timeout(LIMIT, read(config, url))
        .await
        .map_err(|_| NotRead::TimedOut(LIMIT))?
}

async fn read(config: &Config, url: &Secret<String>) -> Result<Keys, NotRead> {
    let client = super::client(config, url)?;
    let mut link = super::connection(&client).await.map_err(NotRead::because)?;
    let keys: u64 = ask(&mut link, &cmd("DBSIZE")).await?;
    if keys > MOST_KEYS {
        return Err(NotRead::TooMany(keys));
    }
    let below = format!("{{{}}}", config.redis_namespace);
    let marker = format!("{below}:marker:{}", uuid::Uuid::new_v4().simple());
    let mut mark = cmd("SET");
    mark.arg(&marker).arg("").arg("EX").arg(MARKER_SECONDS);
    ask::<()>(&mut link, &mark).await?;

    let mut found = Keys::new();
    let mut cursor = 0_u64;
    loop {
        let mut scan = cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{below}*"));
        scan.arg("COUNT").arg(KEYS_AT_ONCE);
        let (next, keys): (u64, Vec<Vec<u8>>) = ask(&mut link, &scan).await?;
        for key in keys {
            let value = value(&mut link, &key).await?;
            found.insert(key, value);
        }
        cursor = next;
        if cursor == 0 {
            break;
        }
    }
    if found.remove(marker.as_bytes()).is_none() {
        return Err(NotRead::Blind);
    }
    let mut unmark = cmd("DEL");
    unmark.arg(&marker);
    ask::<()>(&mut link, &unmark).await?;
    Ok(found)
}

/// All that stands at a key, whatever kind it is of. Nothing, where it has just expired.
async fn value(link: &mut MultiplexedConnection, key: &[u8]) -> Result<Vec<u8>, NotRead> {
    let mut kind = cmd("TYPE");
    kind.arg(key);
    let kind: String = ask(link, &kind).await?;
    let (name, rest): (_, &[&str]) = match kind.as_str() {
        "none" => return Ok(Vec::new()),
        "string" => ("GET", &[]),
        "hash" => ("HGETALL", &[]),
        "list" => ("LRANGE", &["0", "-1"]),
        "set" => ("SMEMBERS", &[]),
        "zset" => ("ZRANGE", &["0", "-1"]),
        "stream" => ("XRANGE", &["-", "+"]),
        // A kind that a module brought: as it would be carried to another server.
        _ => ("DUMP", &[]),
    };
    let mut read = cmd(name);
    read.arg(key).arg(rest);
    let mut bytes = Vec::new();
    flatten(ask(link, &read).await?, &mut bytes);
    Ok(bytes)
}

/// One piece behind the other, a line each.
fn flatten(value: Value, bytes: &mut Vec<u8>) {
    match value {
        Value::BulkString(piece) => bytes.extend(piece),
        Value::SimpleString(piece) => bytes.extend(piece.into_bytes()),
        Value::Int(number) => bytes.extend(number.to_string().into_bytes()),
        Value::Array(pieces) | Value::Set(pieces) => {
            for piece in pieces {
                flatten(piece, bytes);
            }
        }
        Value::Map(pairs) => {
            for (name, value) in pairs {
                flatten(name, bytes);
                flatten(value, bytes);
            }
        }
        // Of the questions that are asked here none is answered otherwise.
        _ => {}
    }
    bytes.push(b'\n');
}

async fn ask<T: redis::FromRedisValue>(
    link: &mut MultiplexedConnection,
    command: &redis::Cmd,
) -> Result<T, NotRead> {
    let answer: Result<T, RedisError> = command.query_async(link).await;
    answer.map_err(NotRead::because)
}
