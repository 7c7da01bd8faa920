package digits.server;

import io.netty.buffer.ByteBuf;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.CombinedChannelDuplexHandler;
import io.netty.handler.codec.http.HttpMessage;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpObjectDecoder;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpRequestDecoder;
import io.netty.handler.codec.http.HttpResponse;
import io.netty.handler.codec.http.HttpResponseEncoder;
import io.netty.handler.codec.http.HttpStatusClass;
import io.netty.handler.codec.http.HttpUtil;
import io.netty.handler.codec.http.LastHttpContent;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.List;
import java.util.Queue;
import java.util.regex.Pattern;

/** Netty's codec of HTTP/1, which also fails the requests that HeadGuard refuses. */
final class StrictCodec extends CombinedChannelDuplexHandler<HttpRequestDecoder, HttpResponseEncoder> {
    /** A chunk's size and extensions (RFC 9112, 7.1). */
    private static final Pattern SIZE =
            Pattern.compile(
                    "\\p{XDigit}++(?:[ \t]*+;[ \t]*+T(?:[ \t]*+=[ \t]*+(?:T|\"(?:[^\"\\\\]|\\\\.)*+\"))?+)*+\r?"
                            .replace("T", "[!#$%&'*+.^_`|~\\w-]++"));

    /** The methods of requests that have no answer yet: HEAD gets an answer without a body. */
    private final Queue<HttpMethod> methods = new ArrayDeque<>();

    StrictCodec() {
        init(new Decoder(), new Encoder());
    }

    /** Checks the head of each request. */
    private final class Decoder extends HttpRequestDecoder {
        private boolean isInHead = true;
        private boolean isChunked;
        private boolean hasRequestLine;
        private boolean isFolded;

        @Override
        protected void decode(ChannelHandlerContext context, ByteBuf buffer, List<Object> out) throws Exception {
            if (isInHead) {
                findFold(buffer);
            } else if (isChunked) {
                checkSize(buffer);
            }
            super.decode(context, buffer, out);
            for (Object each : out) {
                if (each instanceof HttpRequest request && request.decoderResult().isFailure()) {
                    // Nothing of its body is read, nor of what comes behind it.
                    request.headers().clear();
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

        /** Checks a head: Netty asks this of each, and fails the request if it throws. */
        @Override
        protected boolean isContentAlwaysEmpty(HttpMessage message) {
            HttpRequest request = (HttpRequest) message;
            isInHead = false;
            methods.add(request.method());
            HeadGuard.check(request, isFolded);
            isChunked = HttpUtil.isTransferEncodingChunked(request);
            return super.isContentAlwaysEmpty(message);
        }

        /** Spoils a malformed line with a chunk's size, so that Netty fails it: alone, it skips a bare semicolon. */
        private void checkSize(ByteBuf buffer) {
            Object state = PrivateField.get(HttpObjectDecoder.class, "currentState", this);
            int start = buffer.readerIndex();
            int length = state.toString().equals("READ_CHUNK_SIZE") ? buffer.bytesBefore((byte) '\n') : 0;
            if (length > 0 && !SIZE.matcher(buffer.toString(start, length, StandardCharsets.ISO_8859_1)).matches()) {
                buffer.setByte(start, 'z');
            }
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
