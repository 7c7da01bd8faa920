package digits.server;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import com.google.gson.JsonParser;
import io.netty.channel.DefaultChannelId;
import io.netty.channel.embedded.EmbeddedChannel;
import io.netty.channel.group.ChannelGroup;
import io.netty.channel.group.DefaultChannelGroup;
import io.netty.handler.codec.http.DefaultFullHttpRequest;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.util.concurrent.ImmediateEventExecutor;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.Reader;
import org.junit.BeforeClass;
import org.junit.Test;

/** How routes are counted, and when draining ends; tests/hostile shows the order of requests at the real port. */
public final class RequestTrackerTest {
    private final ChannelGroup connections = new DefaultChannelGroup(ImmediateEventExecutor.INSTANCE);

    @BeforeClass
    public static void startTorchServe() {
        TorchServe.start();
    }

    private EmbeddedChannel ask(String uri) {
        EmbeddedChannel connection =
                new EmbeddedChannel(DefaultChannelId.newInstance(), new RequestTracker(connections));
        connection.writeInbound(new DefaultFullHttpRequest(HttpVersion.HTTP_1_1, HttpMethod.POST, uri));
        return connection;
    }

    @Test
    public void everyRouteIsCountedOnceByItsFirstSegment() throws IOException {
        try (Reader text = new InputStreamReader(RequestTracker.class.getResourceAsStream("openapi.json"), UTF_8)) {
            for (String path : JsonParser.parseReader(text).getAsJsonObject().getAsJsonObject("paths").keySet()) {
                String endpoint = path.split("/")[1];
                double counted = Metrics.REQUESTS.labels(endpoint, "200").get();
                EmbeddedChannel connection = ask(path);
                connection.writeOutbound(
                        new DefaultFullHttpResponse(HttpVersion.HTTP_1_1, HttpResponseStatus.CONTINUE),
                        new DefaultFullHttpResponse(HttpVersion.HTTP_1_1, HttpResponseStatus.OK));
                assertEquals(path, counted + 1, Metrics.REQUESTS.labels(endpoint, "200").get(), 0);
            }
        }
    }

    @Test
    public void drainingEndsAtItsDeadline() throws Exception {
        EmbeddedChannel busy = ask("/predictions/mnist");
        long begin = System.nanoTime();
        RequestTracker.drain(connections, System.currentTimeMillis() + 600);
        assertTrue(System.nanoTime() - begin < 10e9);
        assertTrue(busy.isOpen());
    }
}
