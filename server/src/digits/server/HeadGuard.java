package digits.server;

import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.handler.codec.TooLongFrameException;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.HttpVersion;
import java.net.ProtocolException;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Refuses requests whose head is not valid HTTP, and reduces an absolute URL to its path. */
final class HeadGuard extends ChannelInboundHandlerAdapter {
    /** A name or an address, in lower case, perhaps with a port. */
    static final Pattern HOST =
            Pattern.compile("(?:\\[(?<ipv6>[0-9a-f:.]+)]|(?<name>[0-9a-z_-]+(?:\\.[0-9a-z_-]+)*+)\\.?)(?::\\d{0,5})?");

    private static final Set<HttpVersion> VERSIONS = Set.of(HttpVersion.HTTP_1_0, HttpVersion.HTTP_1_1);
    private static final Pattern ABSOLUTE = Pattern.compile("(?i)https?://(?<host>[^/?]+)(?<path>/?.*)");
    /** Printable ASCII without the # of a fragment, and with no escape that TorchServe cannot decode. */
    private static final Pattern TARGET = Pattern.compile("(?:[!-\"$&-~]|%\\p{XDigit}{2})++");

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        FullHttpRequest request = (FullHttpRequest) message;
        if (request.decoderResult().isFailure()) {
            refuseMalformed(context, request, request.decoderResult().cause());
        } else if (!VERSIONS.contains(request.protocolVersion())) {
            String sentence = "The service speaks HTTP/1.1 and HTTP/1.0.";
            refuse(context, request, HttpResponseStatus.HTTP_VERSION_NOT_SUPPORTED, sentence);
        } else if (!TARGET.matcher(request.uri()).matches()) {
            String sentence = "The URL has a malformed escape or character: write % as %25.";
            refuse(context, request, HttpResponseStatus.BAD_REQUEST, sentence);
        } else if (!hasHost(request)) {
            String sentence = "The request must have exactly one Host header, with a name or an address.";
            refuse(context, request, HttpResponseStatus.BAD_REQUEST, sentence);
        } else if (request.uri().equals("*") && HttpMethod.OPTIONS.equals(request.method())) {
            FullHttpResponse answer = new DefaultFullHttpResponse(HttpVersion.HTTP_1_1, HttpResponseStatus.OK);
            answer.headers().set(HttpHeaderNames.ALLOW, "GET, HEAD, POST, PUT, DELETE, OPTIONS");
            HttpUtil.setContentLength(answer, 0);
            context.writeAndFlush(answer);
            request.release();
        } else if (!request.uri().startsWith("/")) {
            String sentence = "The path of the request must begin with /.";
            refuse(context, request, HttpResponseStatus.BAD_REQUEST, sentence);
        } else {
            context.fireChannelRead(message);
        }
    }

    /** Returns whether a request names one host, which an absolute URL replaces; HTTP/1.0 needs none. */
    private static boolean hasHost(FullHttpRequest request) {
        List<String> hosts = request.headers().getAll(HttpHeaderNames.HOST);
        boolean isOld = hosts.isEmpty() && HttpVersion.HTTP_1_0.equals(request.protocolVersion());
        Matcher absolute = ABSOLUTE.matcher(request.uri());
        if (absolute.matches() && (isOld || hosts.size() == 1)) {
            String path = absolute.group("path");
            request.setUri(path.startsWith("/") ? path : "/" + path);
            hosts = List.of(absolute.group("host"));
            isOld = false;
            request.headers().set(HttpHeaderNames.HOST, hosts.get(0));
        }
        return isOld || hosts.size() == 1 && HOST.matcher(hosts.get(0).toLowerCase(Locale.ROOT)).matches();
    }

    private static void refuseMalformed(ChannelHandlerContext context, FullHttpRequest request, Throwable cause) {
        if (!(cause instanceof TooLongFrameException)) {
            boolean isOurs = cause instanceof ProtocolException;
            String sentence = isOurs ? cause.getMessage() : "The request is not valid HTTP.";
            refuse(context, request, HttpResponseStatus.BAD_REQUEST, sentence);
        } else if (cause.getMessage().contains("header")) {
            String sentence = "The headers of the request are too large: send at most 8192 bytes.";
            refuse(context, request, HttpResponseStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, sentence);
        } else {
            String sentence = "The request line is too long: send at most 4096 bytes.";
            refuse(context, request, HttpResponseStatus.REQUEST_URI_TOO_LONG, sentence);
        }
    }

    /** Refuses a request, and closes the connection: where the next one begins is uncertain. */
    private static void refuse(
            ChannelHandlerContext context, FullHttpRequest request, HttpResponseStatus status, String sentence) {
        FullHttpResponse answer = Answers.error(status, sentence);
        HttpUtil.setContentLength(answer, answer.content().readableBytes());
        HttpUtil.setKeepAlive(answer, false);
        context.writeAndFlush(answer).addListener(ChannelFutureListener.CLOSE);
        request.release();
    }
}
