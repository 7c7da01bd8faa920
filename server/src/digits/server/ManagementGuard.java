package digits.server;

import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.QueryStringDecoder;
import java.util.List;
import java.util.Map;
import org.pytorch.serve.http.BadRequestException;
import org.pytorch.serve.util.NettyUtils;

/** Refuses to scale to an invalid number, for which TorchServe silently scales to one worker. */
final class ManagementGuard extends ChannelInboundHandlerAdapter {
    private static final List<String> NUMBERS = List.of("min_worker", "max_worker", "number_gpu", "timeout");
    private static final int MOST_DIGITS = 4;

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        FullHttpRequest request = (FullHttpRequest) message;
        String problem = HttpMethod.PUT.equals(request.method()) ? findProblem(request.uri()) : null;
        if (problem == null) {
            context.fireChannelRead(message);
        } else {
            NettyUtils.sendError(context, HttpResponseStatus.BAD_REQUEST, new BadRequestException(problem));
            request.release();
        }
    }

    /** Returns the problem of an invalid scaling request; null for any other request. */
    private static String findProblem(String uri) {
        QueryStringDecoder decoder = new QueryStringDecoder(uri);
        if (!decoder.path().startsWith("/models/") || decoder.path().endsWith("/set-default")) {
            return null;
        }
        Map<String, List<String>> parameters = decoder.parameters();
        if (!parameters.containsKey("min_worker") && !parameters.containsKey("max_worker")) {
            return "Set min_worker, max_worker or both to a number of workers.";
        }
        for (String name : NUMBERS) {
            for (String value : parameters.getOrDefault(name, List.of())) {
                if (!value.matches("\\d{1," + MOST_DIGITS + "}")) {
                    return name + " must be a whole number of 0 or more.";
                }
            }
        }
        return null;
    }
}
