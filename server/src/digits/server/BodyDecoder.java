package digits.server;

import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufInputStream;
import io.netty.buffer.Unpooled;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpUtil;
import java.io.IOException;
import java.io.InputStream;
import java.util.Locale;
import java.util.zip.GZIPInputStream;
import java.util.zip.Inflater;
import java.util.zip.InflaterInputStream;
import org.pytorch.serve.util.ConfigManager;

/** Decompresses bodies in gzip or deflate, up to the size limit of a request. */
final class BodyDecoder {
    private static final int ZLIB = 8;
    private static final int LOW_BITS = 0xf;

    private BodyDecoder() {}

    /** Returns the request, or another one with its body decompressed. */
    static FullHttpRequest decode(FullHttpRequest request) {
        String encoding = request.headers().get(HttpHeaderNames.CONTENT_ENCODING);
        if (encoding == null || encoding.equalsIgnoreCase("identity")) {
            return request;
        }
        int most = ConfigManager.getInstance().getMaxRequestSize();
        byte[] unpacked;
        try (InputStream body = open(encoding, request.content())) {
            unpacked = body.readNBytes(most + 1);
        } catch (IOException | StackOverflowError e) {
            // GZIPInputStream recurses once for each empty member of a gzip file.
            String sentence = "The body is damaged or truncated: it is not valid " + encoding + ".";
            throw new Refusal(HttpResponseStatus.BAD_REQUEST, sentence).counted("malformed_request");
        }
        if (unpacked.length > most) {
            String sentence = "The request is too large: send at most " + most + " bytes after decompression.";
            throw new Refusal(HttpResponseStatus.REQUEST_ENTITY_TOO_LARGE, sentence).counted("too_large");
        }
        FullHttpRequest plain = request.replace(Unpooled.wrappedBuffer(unpacked));
        plain.headers().remove(HttpHeaderNames.CONTENT_ENCODING);
        HttpUtil.setContentLength(plain, unpacked.length);
        request.release();
        return plain;
    }

    private static InputStream open(String encoding, ByteBuf body) throws IOException {
        InputStream packed = new ByteBufInputStream(body);
        switch (encoding.toLowerCase(Locale.ROOT)) {
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
                String sentence = "Content-Encoding " + encoding + " is not supported: use gzip or deflate.";
                throw new Refusal(
                                HttpResponseStatus.UNSUPPORTED_MEDIA_TYPE, sentence,
                                HttpHeaderNames.ACCEPT_ENCODING, "gzip, deflate")
                        .counted("malformed_request");
        }
    }
}
