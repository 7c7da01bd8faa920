package digits.server;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertSame;
import static org.junit.Assert.assertTrue;

import io.netty.buffer.Unpooled;
import io.netty.channel.embedded.EmbeddedChannel;
import io.netty.handler.codec.http.DefaultFullHttpRequest;
import io.netty.handler.codec.http.DefaultHttpContent;
import io.netty.handler.codec.http.DefaultHttpRequest;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpVersion;
import java.nio.charset.StandardCharsets;
import org.junit.BeforeClass;
import org.junit.Test;
import org.pytorch.serve.archive.model.ModelException;

/** Which requests are refused, and how. */
public final class UploadGuardTest {
    private static final String FULL = "/predictions/mnist/2.0";

    private final EmbeddedChannel channel = new EmbeddedChannel(new UploadGuard());

    @BeforeClass
    public static void startTorchServe() {
        TorchServe.start();
    }

    private static FullHttpRequest request(HttpMethod method, String uri, String type) {
        FullHttpRequest request =
                new DefaultFullHttpRequest(
                        HttpVersion.HTTP_1_1, method, uri, Unpooled.copiedBuffer("a", StandardCharsets.UTF_8));
        request.headers().set("Content-Type", type);
        return request;
    }

    private FullHttpResponse refuse(FullHttpRequest request) {
        assertTrue("passed on: " + request, !channel.writeInbound(request));
        FullHttpResponse answer = channel.readOutbound();
        assertEquals("application/json", answer.headers().get("Content-Type"));
        assertEquals(TorchServe.PAGE, answer.headers().get("Access-Control-Allow-Origin"));
        return answer;
    }

    @Test
    public void aFullQueueIsA503ThatThePageCanRead() {
        FullHttpResponse answer = refuse(request(HttpMethod.POST, FULL, "image/png"));
        assertEquals(503, answer.status().code());
        assertEquals("1", answer.headers().get("Retry-After"));
    }

    @Test
    public void aPreflightPassesAFullQueue() {
        FullHttpRequest preflight = request(HttpMethod.OPTIONS, FULL, "");
        assertTrue(channel.writeInbound(preflight));
        assertSame(preflight, channel.readInbound());
    }

    @Test
    public void aFullQueueOfOneVersionLeavesTheOthersAlone() {
        for (String uri : new String[] {"/predictions/mnist", "/predictions/mnist/1.0", "/v1/models/mnist:predict"}) {
            assertTrue(uri, channel.writeInbound(request(HttpMethod.POST, uri, "image/png")));
        }
    }

    @Test
    public void theVersionThatAPathNamesIsFound() throws ModelException {
        String[] paths = {
            FULL, "/explanations/mnist/2.0?x=1", "/v2/models/mnist/versions/2.0/infer", "/mnist/2.0/predict"
        };
        for (String path : paths) {
            assertSame(path, TorchServe.model("2.0"), UploadGuard.findModel(path));
        }
    }

    @Test
    public void aPathWithoutAVersionMeansTheDefaultOne() throws ModelException {
        String[] paths = {
            "/predictions/mnist",
            "/v1/models/mnist:predict",
            "/v2/models/mnist/infer",
            "/predictions/mnist?version=2.0",
            "/models/mnist/invoke"
        };
        for (String path : paths) {
            assertSame(path, TorchServe.model("1.0"), UploadGuard.findModel(path));
        }
    }

    @Test
    public void aPathWithoutAModelHasNoQueue() {
        assertNull(UploadGuard.findModel("/ping"));
        assertNull(UploadGuard.findModel("/predictions/letters/2.0"));
    }

    @Test
    public void aPathWithoutASlashIsA404() {
        channel.writeInbound(request(HttpMethod.POST, "*", "image/png"));
        assertEquals(404, channel.<FullHttpResponse>readOutbound().status().code());
    }

    @Test
    public void aWebFormIsPassedOnAsBytes() {
        String form = "application/x-www-form-urlencoded";
        assertTrue(channel.writeInbound(request(HttpMethod.POST, "/predictions/mnist", form)));
        FullHttpRequest passed = channel.readInbound();
        assertEquals("application/octet-stream", passed.headers().get("Content-Type"));
    }

    @Test
    public void aLargeBodyIsA413AndTheConnectionStaysOpen() {
        EmbeddedChannel limited = new EmbeddedChannel(new UploadGuard.Aggregator());
        limited.writeInbound(new DefaultHttpRequest(HttpVersion.HTTP_1_1, HttpMethod.POST, "/predictions/mnist"));
        limited.writeInbound(new DefaultHttpContent(Unpooled.wrappedBuffer(new byte[1001])));
        FullHttpResponse answer = limited.readOutbound();
        assertEquals(413, answer.status().code());
        assertEquals(TorchServe.PAGE, answer.headers().get("Access-Control-Allow-Origin"));
        assertTrue(limited.isOpen());
    }
}
