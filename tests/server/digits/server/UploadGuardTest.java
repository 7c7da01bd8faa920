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
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpVersion;
import org.junit.BeforeClass;
import org.junit.Test;
import org.pytorch.serve.archive.model.ModelException;

/** Which requests are refused, and how. */
public final class UploadGuardTest {
    @BeforeClass
    public static void startTorchServe() {
        TorchServe.start();
    }

    @Test
    public void aPathMeansTheVersionThatItNamesOrElseTheDefaultOne() throws ModelException {
        for (String path : new String[] {
            "/predictions/mnist/2.0", "/explanations/mnist/2.0?x=1", "/v2/models/mnist/versions/2.0/infer",
            "/mnist/2.0/predict"}) {
            assertSame(path, TorchServe.model("2.0"), UploadGuard.findModel(path));
        }
        for (String path : new String[] {
            "/predictions/mnist", "/predictions/mnist?version=2.0", "/v1/models/mnist:predict",
            "/v2/models/mnist/infer", "/models/mnist/invoke"}) {
            assertSame(path, TorchServe.model("1.0"), UploadGuard.findModel(path));
        }
        for (String path : new String[] {"/ping", "/predictions/letters/2.0"}) {
            assertNull(path, UploadGuard.findModel(path));
        }
    }

    @Test
    public void aFullQueueOfOneVersionLeavesTheOthersAlone() {
        EmbeddedChannel channel = new EmbeddedChannel(new UploadGuard());
        for (String path : new String[] {
            "/predictions/mnist", "/predictions/mnist/1.0", "/v1/models/mnist:predict", "/predictions/mnist/2.0"}) {
            channel.writeInbound(new DefaultFullHttpRequest(HttpVersion.HTTP_1_1, HttpMethod.POST, path));
            assertEquals(path, path.endsWith("/2.0"), channel.readInbound() == null);
        }
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
