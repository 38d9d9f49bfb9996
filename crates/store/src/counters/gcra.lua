-- Takes all charges of one request, or none. The arithmetic is core::limit's; times are microseconds,
-- which a Lua number holds exactly below 2^53, but prints exactly only with '%.0f'.
-- KEYS: one per charge. ARGV: the time, or '' for this server's; then interval and capacity per charge.
-- Answers the time, and for each charge the arrival time that it found.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local answer, pending, refused = { string.format('%.0f', now) }, {}, false
for i, key in ipairs(KEYS) do
  local interval, capacity = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local tat = pending[key] or tonumber(redis.call('GET', key) or '0')
  if not tat then
    return redis.error_reply('ERR a counter does not hold a number')
  end
  answer[i + 1] = string.format('%.0f', tat)
  local wanted = math.max(tat - now, 0) + interval
  if wanted > capacity then
    refused = true
  else
    pending[key] = now + wanted
  end
end
if not refused then
  for key, tat in pairs(pending) do
    local life = math.max(math.ceil((tat - now) / 1000), 1)
    redis.call('SET', key, string.format('%.0f', tat), 'PX', string.format('%.0f', life))
  end
end
return answer
