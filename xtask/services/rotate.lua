-- Sends the requests of a file in turn, so that every request may come from another session.
-- Usage: wrk ... -s rotate.lua URL -- FILE [TOKENS]
-- A request is a head, and a body of the length that the head says. With TOKENS, one to a line, the file
-- holds one request, and each token in turn takes the place of `{token}` in it: a million of them would
-- not fit into memory otherwise. What stands behind a blank takes that of `{beside}`, before it.

local requests = {}
local start, before, after
local turn = 0

local function whole(name)
  local file = assert(io.open(name, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

function init(arguments)
  local text = whole(arguments[1])
  if arguments[2] then
    before, after = text:match("^(.*){token}(.*)$")
    if before:find("{beside}", 1, true) then
      start, before = before:match("^(.*){beside}(.*)$")
    end
    for token in whole(arguments[2]):gmatch("[^\n]+") do
      requests[#requests + 1] = token
    end
  else
    local from = 1
    while from <= #text do
      local _, head_end = text:find("\r\n\r\n", from, true)
      local length = text:sub(from, head_end):match("\r\nContent%-Length: (%d+)\r\n") or "0"
      local to = head_end + tonumber(length)
      requests[#requests + 1] = text:sub(from, to)
      from = to + 1
    end
  end
  assert(#requests > 0, "no request in " .. arguments[1])
  -- Threads start at different places.
  math.randomseed(os.time() + tonumber(tostring(requests):match("0x(%x+)") or "0", 16) % 100000)
  turn = math.random(#requests)
end

function request()
  turn = turn % #requests + 1
  if start then
    local token, beside = requests[turn]:match("^(%S+) (%S+)$")
    return start .. beside .. before .. token .. after
  end
  if before then
    return before .. requests[turn] .. after
  end
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d %d\n",
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
