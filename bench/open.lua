-- For wrk: each client POSTs the file PICTURE, then thinks, THINK_MS on average, as independent people do.
local file = assert(io.open(os.getenv("PICTURE"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
wrk.headers["Content-Type"] = "application/octet-stream"
local think_ms = tonumber(os.getenv("THINK_MS"))
local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

refused, wrong = 0, 0

function response(status)
    if status == 503 then
        refused = refused + 1
    elseif status ~= 200 then
        wrong = wrong + 1
    end
end

if think_ms > 0 then
    function delay()
        return math.floor(-think_ms * math.log(1 - math.random()) + 0.5)
    end
end

function done(summary, latency)
    local counts = {refused = 0, wrong = 0}
    for _, thread in ipairs(threads) do
        for name in pairs(counts) do
            counts[name] = counts[name] + thread:get(name)
        end
    end
    local errors = summary.errors
    io.write(string.format(
        'RESULT {"requests": %d, "seconds": %f, "refused": %d, "failed": %d, "p50": %f, "p99": %f}\n',
        summary.requests, summary.duration / 1e6, counts.refused,
        counts.wrong + errors.connect + errors.read + errors.write + errors.timeout,
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
