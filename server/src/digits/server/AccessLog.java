package digits.server;

import com.google.common.base.CharMatcher;
import io.netty.channel.ChannelDuplexHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelPromise;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaders;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponse;
import io.netty.handler.codec.http.HttpStatusClass;
import java.util.concurrent.ThreadLocalRandom;
import java.util.regex.Pattern;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Gives each request an id, which its answer and all logs have, and logs it in one line: docs/operations.md. */
final class AccessLog extends ChannelDuplexHandler {
    static final String ID = "x-request-id";
    static final String TRACE = "traceparent";

    /** A header of the worker's answers that holds fields for the line: "name=number name=number". */
    static final String FIELDS = "x-log-fields";

    private static final Logger LOGGER = LoggerFactory.getLogger(AccessLog.class);
    private static final boolean IS_JSON = "json".equals(System.getenv("LOG_FORMAT"));
    private static final CharMatcher ID_PARTS =
            CharMatcher.inRange('a', 'z').or(CharMatcher.inRange('A', 'Z'))
                    .or(CharMatcher.inRange('0', '9')).or(CharMatcher.anyOf("._-")).precomputed();
    /** What could end a field or a line. */
    private static final CharMatcher ENDS = CharMatcher.inRange('!', '~').negate().or(CharMatcher.anyOf("\"\\"));
    /** Version, trace, parent and flags, as in W3C Trace Context. */
    private static final Pattern PARENT =
            Pattern.compile("00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}");

    private String id;
    private StringBuilder line;
    private long arrived;

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        if (message instanceof HttpRequest request) {
            begin(request, String.valueOf(context.channel().remoteAddress()));
        }
        arrived = System.nanoTime();
        context.fireChannelRead(message);
    }

    private void begin(HttpRequest request, String client) {
        HttpHeaders headers = request.headers();
        id = headers.get(ID, "");
        if (id.isEmpty() || id.length() > 128 || !ID_PARTS.matchesAllOf(id)) {
            id = makeId() + makeId();
        }
        line = new StringBuilder(400);
        addText("request_id", id);
        String trace = headers.get(TRACE, "");
        if (PARENT.matcher(trace).matches()) {
            addText("trace_id", trace.substring(3, 35));
            addText("parent_id", trace.substring(36, 52));
            addText("span_id", makeId());
        } else {
            headers.remove(TRACE);
        }
        headers.set(ID, id);
        addText("client", client.replace("/", ""));
        addText("method", request.method().name());
        // The query may hold private data.
        addText("path", ENDS.replaceFrom(request.uri().split("\\?", 2)[0], '_'));
    }

    @Override
    public void write(ChannelHandlerContext context, Object message, ChannelPromise promise) {
        if (line != null
                && message instanceof HttpResponse answer
                && answer.status().codeClass() != HttpStatusClass.INFORMATIONAL) {
            HttpHeaders headers = answer.headers();
            headers.set(ID, id);
            if (headers.contains(HttpHeaderNames.ACCESS_CONTROL_ALLOW_ORIGIN)) {
                headers.set(HttpHeaderNames.ACCESS_CONTROL_EXPOSE_HEADERS, ID);
            }
            end(answer.status().code(), headers.get(FIELDS));
            headers.remove(FIELDS);
        }
        context.write(message, promise);
    }

    /** Logs a request that its client has left with nginx's status for that. */
    @Override
    public void channelInactive(ChannelHandlerContext context) {
        if (line != null) {
            end(499, null);
        }
        context.fireChannelInactive();
    }

    private void end(int status, String fields) {
        String all = " status=" + status + " total_ms=" + toMs(System.nanoTime() - arrived);
        all += fields == null ? "" : " " + fields;
        LOGGER.info(line.append(IS_JSON ? all.replace(" ", ",\"").replace("=", "\":") : all).toString());
        line = null;
    }

    /** Returns nanoseconds as milliseconds with three decimals. */
    static String toMs(long nanos) {
        return nanos / 1_000_000 + "." + String.valueOf(1000 + nanos / 1000 % 1000).substring(1);
    }

    /** Returns 16 random digits in hexadecimal: the highest bit is set. */
    private static String makeId() {
        return Long.toHexString(ThreadLocalRandom.current().nextLong() | Long.MIN_VALUE);
    }

    private void addText(String name, String value) {
        line.append(IS_JSON ? ",\"" + name + "\":\"" + value + '"' : " " + name + "=" + value);
    }
}
