-- Asks Portcullis whether a request may pass. For HAProxy 2.6 or newer, `lua-load` in `global`.
-- Sets txn.permitted, and on the request what the product is to be told. Whatever goes wrong here
-- leaves txn.permitted unset: then the request goes to the gate, never to the product.

local QUESTION = "http://127.0.0.1:8080/.portcullis/forward-auth"

-- About this connection or the body, which is not sent along.
local NOT_ASKED = {
  ["host"] = true, ["connection"] = true, ["content-length"] = true, ["expect"] = true, ["te"] = true,
  ["transfer-encoding"] = true, ["trailer"] = true, ["upgrade"] = true, ["keep-alive"] = true,
}

local function ask(txn)
  local headers = {}
  for name, values in pairs(txn.http:req_get_headers()) do
    if not NOT_ASKED[name] then
      local all = {}
      for position = 0, #values do all[#all + 1] = values[position] end
      headers[name] = all
    end
  end
  headers["x-original-method"] = { txn.sf:method() }
  headers["x-original-uri"] = { txn.sf:pathq() }
  headers["x-forwarded-host"] = { txn.sf:req_fhdr("host") }
  local answer = core.httpclient():get{ url = QUESTION, headers = headers, timeout = 5000 }
  if not answer or answer.status ~= 200 then return end
  local told = function(name) return (answer.headers[name] or {})[0] or "" end
  txn.http:req_set_header("x-portcullis-assertion", told("x-portcullis-assertion"))
  txn.http:req_set_header("x-request-id", told("x-request-id"))
  local cookies = told("x-portcullis-cookie")
  if cookies == "" then
    txn.http:req_del_header("cookie")
  else
    txn.http:req_set_header("cookie", cookies)
  end
  txn:set_var("txn.permitted", true)
end

core.register_action("portcullis", { "http-req" }, ask)
