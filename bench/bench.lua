-- For wrk: POSTs the file PICTURE each time, and counts answers that are not the digit DIGIT.
local file = assert(io.open(os.getenv("PICTURE"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
wrk.headers["Content-Type"] = "application/octet-stream"
local expected = '"digit":' .. os.getenv("DIGIT")
local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

wrong = 0

function response(status, _, body)
    if status ~= 200 or not body:find(expected, 1, true) then
        wrong = wrong + 1
    end
end

function done(summary, latency)
    local total = 0
    for _, thread in ipairs(threads) do
        total = total + thread:get("wrong")
    end
    local failed = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
    io.write(string.format(
        'RESULT {"requests": %d, "seconds": %f, "wrong": %d, "failed": %d, "p50": %f, "p95": %f, "p99": %f}\n',
        summary.requests, summary.duration / 1e6, total, failed,
        latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3))
end
