package digits.server;

import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.QueryStringDecoder;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import org.pytorch.serve.http.BadRequestException;
import org.pytorch.serve.util.NettyUtils;

/** Refuses parameters that TorchServe ignores, and invalid numbers, in place of which it takes its defaults. */
final class ManagementGuard extends ChannelInboundHandlerAdapter {
    private static final Map<HttpMethod, List<String>> PARAMETERS =
            Map.of(
                    HttpMethod.PUT, List.of("min_worker", "max_worker", "model_version", "synchronous"),
                    HttpMethod.DELETE, List.of(),
                    HttpMethod.POST,
                    List.of(
                            "url", "model_name", "handler", "runtime", "batch_size", "max_batch_delay",
                            "initial_workers", "response_timeout", "startup_timeout", "synchronous", "s3_sse_kms"));
    private static final Pattern NUMBERS = Pattern.compile(".*_(worker|workers|size|delay|timeout)");

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        FullHttpRequest request = (FullHttpRequest) message;
        String problem = findProblem(request.method(), new QueryStringDecoder(request.uri()));
        if (problem == null) {
            context.fireChannelRead(message);
        } else {
            NettyUtils.sendError(context, HttpResponseStatus.BAD_REQUEST, new BadRequestException(problem));
            request.release();
        }
    }

    /** Returns the problem of a request's parameters; null if there is none. */
    private static String findProblem(HttpMethod method, QueryStringDecoder query) {
        List<String> known = PARAMETERS.get(method);
        if (known == null || !query.path().matches("/models(/.*)?")) {
            return null;
        }
        Map<String, List<String>> given = query.parameters();
        boolean isScaling = method.equals(HttpMethod.PUT);
        if (query.path().endsWith("/set-default")) {
            known = List.of();
        } else if (isScaling && !given.containsKey("min_worker") && !given.containsKey("max_worker")) {
            return "Set min_worker, max_worker or both to a number of workers.";
        }
        for (Map.Entry<String, List<String>> each : given.entrySet()) {
            String name = each.getKey();
            if (!known.contains(name)) {
                return name + " has no effect on this request: leave it out"
                        + (known.isEmpty() ? "." : ", or use one of " + String.join(", ", known) + ".");
            }
            if (NUMBERS.matcher(name).matches() && !String.join(",", each.getValue()).matches("\\d{1,4}")) {
                return name + " must be one whole number from 0 to 9999.";
            }
        }
        return null;
    }
}
