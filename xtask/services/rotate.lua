-- Sends the request heads of a file in turn, so that every request may come from another session.
-- Usage: wrk ... -s rotate.lua URL -- FILE

local heads = {}
local turn = 0

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  for head in file:read("*a"):gmatch("(.-\r\n)\r\n") do
    heads[#heads + 1] = head .. "\r\n"
  end
  file:close()
  assert(#heads > 0, "no request head in " .. arguments[1])
  -- Threads start at different places.
  math.randomseed(os.time() + tonumber(tostring(heads):match("0x(%x+)") or "0", 16) % 100000)
  turn = math.random(#heads)
end

function request()
  turn = turn % #heads + 1
  return heads[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d %d\n",
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
