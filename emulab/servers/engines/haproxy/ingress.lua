-- What haproxy.cfg has no words for.

-- The body of an answer goes on as fast as `rate` bytes a second let it, after its first `after` bytes: nginx's
-- limit_rate. HAProxy has a filter of its own for it from 2.7 on.
local Limit = { id = "limit-rate", flags = filter.FLT_CFG_FL_HTX }
Limit.__index = Limit

function Limit:new()
    return setmetatable({ sent = 0, rate = self.rate, after = self.after }, Limit)
end

function Limit:start_analyze(txn, channel)
    if channel:is_resp() then
        filter.register_data_filter(self, channel)
    end
    return filter.CONTINUE
end

function Limit:http_payload(txn, message)
    local now = core.now()
    local time = now.sec + now.usec / 1000000
    self.began = self.began or time
    local free = self.after + math.floor((time - self.began + 0.001) * self.rate) - self.sent
    local there = message:input()
    if free <= 0 and there > 0 then
        filter.wake_time(math.ceil((1 - free) * 1000 / self.rate) + 10)
        return 0
    end
    local size = math.min(there, free)
    self.sent = self.sent + size
    if size < there then
        filter.wake_time(20)
    end
    return size
end

core.register_filter("limit-rate", Limit, function(limit, arguments)
    limit.rate, limit.after = tonumber(arguments[1]), tonumber(arguments[2])
    return limit
end)

-- Passwords in the formats of Apache's htpasswd, which crypt(3) doesn't know.
local ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
local ORDER = { { 1, 7, 13 }, { 2, 8, 14 }, { 3, 9, 15 }, { 4, 10, 16 }, { 5, 11, 6 } }

local function letters(value, size)
    local text = ""
    for _ = 1, size do
        local place = value % 64 + 1
        text, value = text .. ALPHABET:sub(place, place), value // 64
    end
    return text
end

local function apr1(md5, password, known)
    local salt = known:sub(7):match("^[^$]*"):sub(1, 8)
    local final = md5(password .. salt .. password)
    local start = password .. "$apr1$" .. salt .. final:rep(#password // 16 + 1):sub(1, #password)
    local left = #password
    while left > 0 do
        start = start .. (left % 2 == 1 and "\0" or password:sub(1, 1))
        left = left // 2
    end
    final = md5(start)
    for number = 0, 999 do
        local odd = number % 2 == 1
        local turn = odd and password or final
        turn = turn .. (number % 3 > 0 and salt or "") .. (number % 7 > 0 and password or "")
        final = md5(turn .. (odd and final or password))
    end
    local text = ""
    for _, places in ipairs(ORDER) do
        local a, b, c = final:byte(places[1]), final:byte(places[2]), final:byte(places[3])
        text = text .. letters(a << 16 | b << 8 | c, 4)
    end
    return "$apr1$" .. salt .. "$" .. text .. letters(final:byte(12), 2)
end

core.register_fetches("password", function(txn)
    local known, password = txn:get_var("txn.hash"), txn.f:http_auth_pass()
    if known == nil or password == nil then
        return false
    end
    if known:sub(1, 7) == "{PLAIN}" then
        return password == known:sub(8)
    elseif known:sub(1, 5) == "{SHA}" then
        return txn.c:base64(txn.c:sha1(password)) == known:sub(6)
    elseif known:sub(1, 6) == "{SSHA}" then
        local salt = txn.c:b64dec(known:sub(7)):sub(21)
        return txn.c:base64(txn.c:sha1(password .. salt) .. salt) == known:sub(7)
    end
    return apr1(function(text) return txn.c:digest(text, "md5") end, password, known) == known
end)

-- Fields of a request as HAProxy's client wants them. Where HAProxy gives values, the first one is at 0.
local function fields_of(txn)
    local fields = {}
    for name, values in pairs(txn.http:req_get_headers()) do
        fields[name] = {}
        for number = 0, #values do
            fields[name][number + 1] = values[number]
        end
    end
    return fields
end

local function first(answer, name)
    local values = answer.headers and answer.headers[name]
    return values and values[0]
end

-- The values of a field, as nginx' variables join them.
local function joined(values)
    local all = {}
    for at = 0, #(values or {}) do
        all[#all + 1] = (values or {})[at]
    end
    return #all > 0 and table.concat(all, ", ") or nil
end

local METHODS = { GET = "get", HEAD = "head", POST = "post", PUT = "put", DELETE = "delete" }

local function send(method, url, fields, body, address)
    local client = core.httpclient()
    local request = { url = url, headers = fields, timeout = 60000, dst = address }
    if body ~= nil and #body > 0 then
        request.body = body
    end
    return client[METHODS[method] or "get"](client, request)
end

-- Paths as nginx compares them, decoded but for what would end one or begin another escape, and as it sends them on.
core.register_converters("unescaped", function(path)
    return (path:gsub("%%(%x%x)", function(code)
        local byte = string.char(tonumber(code, 16))
        return byte:find("[%%?#%z]") and "%" .. code or byte
    end))
end)

core.register_converters("escaped", function(path)
    return (path:gsub('[%z\1-\32"<>\\^`{|}\127-\255]', function(byte)
        return string.format("%%%02X", byte:byte())
    end))
end)

-- Another service is asked whether a request may in: nginx's auth_request.
local OURS = { "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-scheme", "x-scheme",
               "x-original-forwarded-for", "content-length", "transfer-encoding", "connection", "upgrade", "te",
               "expect" }
local kept = {}

local function now()
    local time = core.now()
    return time.sec + time.usec / 1000000
end

local function keeps(answer, said)
    local control = (first(answer, "cache-control") or ""):lower()
    if first(answer, "set-cookie") or control:find("no%-cache") or control:find("no%-store") or control:find("private")
    then
        return 0
    end
    local age = (" " .. control):match("[, ]s%-maxage=(%d+)") or (" " .. control):match("[, ]max%-age=(%d+)")
    if age then
        return tonumber(age)
    end
    local any = said:match("any=([%d.]+)")
    return tonumber(said:match("%f[%d]" .. answer.status .. "=([%d.]+)") or any or 0)
end

-- What is to be said to the service: its own fields by their names, values in variables of the transaction.
local function question(txn, method, names)
    local fields = fields_of(txn)
    local chain, asked = txn:get_var("txn.chain"), fields["x-original-forwarded-host"]
    for _, name in ipairs(OURS) do
        fields[name] = nil
    end
    fields["x-forwarded-host"], fields["x-original-forwarded-host"] = asked, nil
    local told = { ["x-forwarded-for"] = chain and "txn.chain" or "txn.client", ["x-original-url"] = "txn.ask_from",
                   ["x-original-method"] = "txn.ask_method", ["x-request-id"] = "txn.id",
                   ["x-real-ip"] = "txn.client", ["x-auth-request-redirect"] = "txn.ask_redirect" }
    if method ~= "-" then
        told["x-original-uri"], told["x-scheme"] = "txn.target", "txn.scheme"
    end
    local number = 0
    for name in names:gmatch("[^,]+") do
        told[name:lower()], number = "txn.ask_field_" .. number, number + 1
    end
    for name, variable in pairs(told) do
        local value = txn:get_var(variable)
        fields[name] = value and value ~= "" and { value } or nil
    end
    fields["x-sent-from"] = { "nginx-ingress-controller" }
    return fields
end

core.register_action("ask", { "http-req" }, function(txn, method, place, said, names, wanted)
    local url, key = txn:get_var("txn.ask_url"), txn:get_var("txn.ask_key")
    local found = key and kept[place .. " " .. key]
    if found == nil or found.until_then < now() then
        if not url:match("^https?://[^/?]+/") then
            url = url:gsub("^(https?://[^/?]+)", "%1" .. place:match("%S+$"):gsub("%%", "%%%%"), 1)
        end
        local fields = question(txn, method, names == "-" and "" or names)
        fields["host"] = { url:match("^https?://([^/?:]+)") }
        local answer = url:match("^https?://[^/?%s]") and send(method, url, fields) or { status = 0 }
        found = { status = answer.status or 0, headers = answer.headers or {}, until_then = 0 }
        if key and found.status > 0 then
            found.until_then = now() + keeps(found, said)
            kept[place .. " " .. key] = found.until_then > now() and found or nil
        end
    end
    txn:set_var("txn.ask_status", found.status)
    local number = 0
    for name in (wanted == "-" and "" or wanted):gmatch("[^,]+") do
        local values = joined(found.headers[name:lower()])
        if values then
            txn:set_var("txn.ask_told_" .. number, values)
        end
        number = number + 1
    end
    local challenge = joined(found.headers["www-authenticate"])
    if challenge then
        txn:set_var("txn.ask_challenge", challenge)
    end
    local cookies = joined(found.headers["set-cookie"])
    if cookies then
        txn:set_var("txn.ask_cookies", cookies)
    end
end, 5)

-- Whether a server has answered: where it doesn't, HAProxy answers in its place, with one of its own pages.
local OWN = "^<html><body><h1>50[234] [^<]+</h1>\n[^<]+\n</body></html>\n$"
local TRIES = 3 -- of proxy_next_upstream_tries where nothing else is said

local function reached(answer)
    return answer ~= nil and (answer.status or 0) ~= 0 and not (answer.body or ""):find(OWN)
end

-- Another server answers in the place of an error: nginx's error_page.
core.register_action("error_page", { "http-req", "http-res" }, function(txn, servers, names)
    local status = tostring(txn:get_var("txn.failed") or "")
    local fields = {}
    local number = 0
    for name in names:gmatch("[^,]+") do
        local value = txn:get_var("txn.error_field_" .. number)
        fields[name:lower()] = value and value ~= "" and { value } or nil
        number = number + 1
    end
    fields["x-code"] = { status }
    fields["host"] = { txn:get_var("txn.host") }
    for name, variable in pairs({ ["x-forwarded-for"] = "txn.client", ["user-agent"] = "txn.agent",
                                  ["accept"] = "txn.accept" }) do
        local value = txn:get_var(variable)
        fields[name] = value and value ~= "" and { tostring(value) } or nil
    end
    local all = {}
    for server in servers:gmatch("[^,]+") do
        all[#all + 1] = server
    end
    local query = txn:get_var("txn.error_query")
    local path = "/" .. (query and query ~= "" and "?" .. query or "")
    local first, answer = math.random(#all), nil
    for try = 0, TRIES - 1 do
        local url = "http://" .. all[(first + try - 1) % #all + 1] .. path
        answer = send(txn:get_var("txn.error_method") or "GET", url, fields)
        if reached(answer) then
            break
        end
    end
    if not reached(answer) then
        txn:set_var("txn.unreached", true)
        return
    end
    local reply = txn:reply({ status = answer.status, reason = answer.reason or "", body = answer.body or "" })
    local ours = { ["content-length"] = true, ["transfer-encoding"] = true, ["connection"] = true, ["date"] = true,
                   ["server"] = not txn:get_var("txn.pass_server") }
    for name, values in pairs(answer.headers or {}) do
        for at = 0, #values do
            if not ours[name] and values[at] then
                reply:add_header(name, values[at])
            end
        end
    end
    txn:done(reply)
end, 2)

-- A request is sent to another server besides, whose answer nobody reads: nginx's mirror.
core.register_action("mirror", { "http-req" }, function(txn, host, with_body)
    local url, method = txn:get_var("txn.mirror"), txn.f:method()
    local fields = fields_of(txn)
    local chain, asked = fields["x-original-forwarded-for"], fields["x-original-forwarded-host"]
    for _, name in ipairs(OURS) do
        fields[name] = nil
    end
    fields["host"], fields["x-forwarded-for"], fields["x-forwarded-host"] = { host }, chain, asked
    fields["x-real-ip"] = nil
    local address = txn:get_var("txn.mirror_address")
    if address then
        local port = url:match("^https?://[^/?]-:(%d+)%f[/?\0]") or (url:match("^https:") and 443 or 80)
        local family = address:find(":") and "ipv6@[%s]:%s" or "ipv4@%s:%s"
        address = family:format(address, port)
    end
    local body = with_body == "on" and txn.f:req_body() or nil
    core.register_task(function()
        send(method, url, fields, body, address)
    end)
end, 2)
