package digits.server;

import io.netty.buffer.ByteBuf;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.CombinedChannelDuplexHandler;
import io.netty.handler.codec.DecoderResult;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaders;
import io.netty.handler.codec.http.HttpMessage;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpRequestDecoder;
import io.netty.handler.codec.http.HttpResponse;
import io.netty.handler.codec.http.HttpResponseEncoder;
import io.netty.handler.codec.http.HttpStatusClass;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.LastHttpContent;
import io.netty.util.ReferenceCountUtil;
import java.net.ProtocolException;
import java.util.ArrayDeque;
import java.util.List;
import java.util.Queue;
import java.util.regex.Pattern;

/** Netty's codec of HTTP/1, which also fails requests with folded headers or a length that is no number. */
final class StrictCodec extends CombinedChannelDuplexHandler<HttpRequestDecoder, HttpResponseEncoder> {
    private static final Pattern LENGTH = Pattern.compile("\\d{1,18}");

    /** The methods of requests that have no answer yet: HEAD gets an answer without a body. */
    private final Queue<HttpMethod> methods = new ArrayDeque<>();

    StrictCodec() {
        init(new Decoder(), new Encoder());
    }

    /** Checks each request once its head is decoded. */
    private final class Decoder extends HttpRequestDecoder {
        private boolean isInHead = true;
        private boolean hasRequestLine;
        private boolean isFolded;
        private boolean hasFailed;

        @Override
        protected void decode(ChannelHandlerContext context, ByteBuf buffer, List<Object> out) throws Exception {
            if (hasFailed) {
                // Where the next request would begin is unknown.
                buffer.skipBytes(buffer.readableBytes());
                return;
            }
            if (isInHead) {
                findFold(buffer);
            }
            int known = out.size();
            super.decode(context, buffer, out);
            for (Object each : out.subList(known, out.size()).toArray()) {
                if (hasFailed) {
                    out.remove(each);
                    ReferenceCountUtil.release(each);
                } else if (each instanceof HttpRequest) {
                    check((HttpRequest) each);
                    isInHead = false;
                }
                if (each instanceof LastHttpContent) {
                    isInHead = true;
                    hasRequestLine = false;
                    isFolded = false;
                }
            }
        }

        @Override
        protected HttpMessage createMessage(String[] line) throws Exception {
            hasRequestLine = true;
            return super.createMessage(line);
        }

        /** Notes whether a header begins with a space, before Netty joins it to the previous one. */
        private void findFold(ByteBuf head) {
            int next = head.readerIndex();
            while (!hasRequestLine && next < head.writerIndex() && head.getByte(next) <= ' ') {
                next++;
            }
            boolean isStart = hasRequestLine;
            for (; next < head.writerIndex(); next++) {
                byte each = head.getByte(next);
                if (isStart && (each == '\n' || each == '\r')) {
                    return;
                }
                isFolded |= isStart && (each == ' ' || each == '\t');
                isStart = each == '\n';
            }
        }

        private void check(HttpRequest request) {
            methods.add(request.method());
            HttpHeaders headers = request.headers();
            String length = headers.get(HttpHeaderNames.CONTENT_LENGTH);
            if (!HttpUtil.is100ContinueExpected(request)) {
                // Netty answers another expectation with 417, and parses the body as the next request.
                headers.remove(HttpHeaderNames.EXPECT);
            }
            if (isFolded) {
                fail(request, "A header must not begin with a space.");
            } else if (length != null && !LENGTH.matcher(length.trim()).matches()) {
                // Netty accepts a sign too, then waits or parses the body as the next request.
                fail(request, "Content-Length must be a number of bytes, such as 5.");
            } else if (headers.contains(HttpHeaderNames.TRANSFER_ENCODING)) {
                // Against request smuggling: proxies may disagree about where such a request ends (RFC 9112, 6.1).
                HttpUtil.setKeepAlive(request, false);
            }
            if (request.decoderResult().isFailure()) {
                // Nothing of its body is read.
                headers.remove(HttpHeaderNames.CONTENT_LENGTH);
            }
        }

        private void fail(HttpRequest request, String sentence) {
            request.setDecoderResult(DecoderResult.failure(new ProtocolException(sentence)));
            hasFailed = true;
        }
    }

    /** Knows which answers have no body. */
    private final class Encoder extends HttpResponseEncoder {
        @Override
        protected boolean isContentAlwaysEmpty(HttpResponse answer) {
            return answer.status().codeClass() != HttpStatusClass.INFORMATIONAL
                            && HttpMethod.HEAD.equals(methods.poll())
                    || super.isContentAlwaysEmpty(answer);
        }
    }
}
