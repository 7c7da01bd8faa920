package digits.server;

import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.QueryStringDecoder;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;

/** Refuses parameters that TorchServe ignores, and invalid numbers, in place of which it takes its defaults. */
final class ManagementGuard {
    private static final Map<HttpMethod, List<String>> PARAMETERS =
            Map.of(
                    HttpMethod.PUT, List.of("min_worker", "max_worker", "model_version", "synchronous"),
                    HttpMethod.DELETE, List.of(),
                    HttpMethod.POST,
                    List.of(
                            "url", "model_name", "handler", "runtime", "batch_size", "max_batch_delay",
                            "initial_workers", "response_timeout", "startup_timeout", "synchronous", "s3_sse_kms"));
    private static final Pattern NUMBERS = Pattern.compile(".*_(worker|workers|size|delay|timeout)");

    private ManagementGuard() {}

    static FullHttpRequest check(FullHttpRequest request) {
        QueryStringDecoder query = new QueryStringDecoder(request.uri());
        List<String> known = PARAMETERS.get(request.method());
        if (known != null && query.path().matches("/models(/.*)?")) {
            boolean isChoice = query.path().endsWith("/set-default");
            boolean isScaling = !isChoice && request.method().equals(HttpMethod.PUT);
            check(query.parameters(), isChoice ? List.of() : known, isScaling);
        }
        return request;
    }

    private static void check(Map<String, List<String>> given, List<String> known, boolean isScaling) {
        if (isScaling && !given.containsKey("min_worker") && !given.containsKey("max_worker")) {
            throw refuse("Set min_worker, max_worker or both to a number of workers.");
        }
        given.forEach((name, values) -> {
            if (!known.contains(name)) {
                String others = known.isEmpty() ? "." : ", or use one of " + String.join(", ", known) + ".";
                throw refuse(name + " has no effect on this request: leave it out" + others);
            }
            if (NUMBERS.matcher(name).matches() && !String.join(",", values).matches("\\d{1,4}")) {
                throw refuse(name + " must be one whole number from 0 to 9999.");
            }
        });
    }

    private static Refusal refuse(String sentence) {
        return new Refusal(HttpResponseStatus.BAD_REQUEST, sentence);
    }
}
