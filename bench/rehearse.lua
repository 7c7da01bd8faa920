-- For wrk: POSTs 0.png to 99.png of the folder PICTURES in turn, and waits a second when the service is busy.
wrk.method = "POST"
wrk.headers["Content-Type"] = "image/png"
local bodies = {}
for number = 0, 99 do
    local file = assert(io.open(os.getenv("PICTURES") .. "/" .. number .. ".png", "rb"))
    bodies[number] = file:read("*a")
    file:close()
end
local sent = 0

function request()
    sent = sent + 1
    return wrk.format(nil, nil, nil, bodies[sent % 100])
end

local pause_ms = 0

function response(status)
    pause_ms = status == 503 and 1000 or 0
end

function delay()
    return pause_ms
end
