package digits.server;

import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufInputStream;
import io.netty.buffer.Unpooled;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpUtil;
import java.io.IOException;
import java.io.InputStream;
import java.io.UnsupportedEncodingException;
import java.util.Locale;
import java.util.zip.GZIPInputStream;
import java.util.zip.Inflater;
import java.util.zip.InflaterInputStream;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.util.NettyUtils;

/** Decompresses bodies in gzip or deflate, up to the size limit of a request. */
final class BodyDecoder extends ChannelInboundHandlerAdapter {
    private static final int ZLIB = 8;
    private static final int LOW_BITS = 0xf;

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        FullHttpRequest request = (FullHttpRequest) message;
        String encoding = request.headers().get(HttpHeaderNames.CONTENT_ENCODING);
        if (encoding == null || encoding.equalsIgnoreCase("identity")) {
            context.fireChannelRead(message);
            return;
        }
        int most = ConfigManager.getInstance().getMaxRequestSize();
        try (InputStream body = open(encoding.toLowerCase(Locale.ROOT), request.content())) {
            byte[] unpacked = body.readNBytes(most + 1);
            if (unpacked.length > most) {
                String sentence = "The request is too large: send at most " + most + " bytes after decompression.";
                refuse(context, HttpResponseStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", sentence);
            } else {
                FullHttpRequest plain = request.replace(Unpooled.wrappedBuffer(unpacked));
                plain.headers().remove(HttpHeaderNames.CONTENT_ENCODING);
                HttpUtil.setContentLength(plain, unpacked.length);
                context.fireChannelRead(plain);
            }
        } catch (UnsupportedEncodingException e) {
            String sentence = "Content-Encoding " + encoding + " is not supported: use gzip or deflate.";
            refuse(context, HttpResponseStatus.UNSUPPORTED_MEDIA_TYPE, "malformed_request", sentence);
        } catch (IOException | StackOverflowError e) {
            // GZIPInputStream recurses once for each empty member of a gzip file.
            String sentence = "The body is damaged or truncated: it is not valid " + encoding + ".";
            refuse(context, HttpResponseStatus.BAD_REQUEST, "malformed_request", sentence);
        } finally {
            request.release();
        }
    }

    private static void refuse(
            ChannelHandlerContext context, HttpResponseStatus status, String reason, String sentence) {
        Metrics.countRefused(reason);
        FullHttpResponse refusal = Answers.error(status, sentence);
        if (status == HttpResponseStatus.UNSUPPORTED_MEDIA_TYPE) {
            refusal.headers().set(HttpHeaderNames.ACCEPT_ENCODING, "gzip, deflate");
        }
        NettyUtils.sendHttpResponse(context, refusal, true);
    }

    private static InputStream open(String encoding, ByteBuf body) throws IOException {
        InputStream packed = new ByteBufInputStream(body);
        switch (encoding) {
            case "gzip":
            case "x-gzip":
                return new GZIPInputStream(packed);
            case "deflate":
                // Some clients send raw deflate, without the zlib header.
                boolean hasHeader = body.isReadable() && (body.getByte(body.readerIndex()) & LOW_BITS) == ZLIB;
                return new InflaterInputStream(packed, new Inflater(!hasHeader)) {
                    @Override
                    public void close() throws IOException {
                        super.close();
                        inf.end();
                    }
                };
            default:
                throw new UnsupportedEncodingException(encoding);
        }
    }
}
