package digits.server;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;

import com.google.gson.JsonParser;
import io.netty.channel.ChannelHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.DefaultChannelId;
import io.netty.channel.embedded.EmbeddedChannel;
import io.netty.channel.group.ChannelGroup;
import io.netty.channel.group.DefaultChannelGroup;
import io.netty.handler.codec.http.DefaultFullHttpRequest;
import io.netty.handler.codec.http.DefaultFullHttpResponse;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.util.concurrent.ImmediateEventExecutor;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.Reader;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.BeforeClass;
import org.junit.Test;

/** What is recorded of requests, and how connections are drained. */
public final class RequestTrackerTest {
    private final ChannelGroup connections = new DefaultChannelGroup(ImmediateEventExecutor.INSTANCE);

    @BeforeClass
    public static void startTorchServe() {
        TorchServe.start();
    }

    private EmbeddedChannel connect(ChannelHandler... more) {
        EmbeddedChannel connection =
                new EmbeddedChannel(DefaultChannelId.newInstance(), new RequestTracker(connections));
        connection.pipeline().addLast(more);
        return connection;
    }

    private static void ask(EmbeddedChannel connection, String uri) {
        connection.writeInbound(new DefaultFullHttpRequest(HttpVersion.HTTP_1_1, HttpMethod.POST, uri));
    }

    private static DefaultFullHttpResponse answer(EmbeddedChannel connection, HttpResponseStatus status) {
        DefaultFullHttpResponse answer = new DefaultFullHttpResponse(HttpVersion.HTTP_1_1, status);
        connection.writeOutbound(answer);
        return answer;
    }

    private static double seconds() {
        return System.nanoTime() / 1e9;
    }

    @Test
    public void anAnswerIsCountedByEndpointAndCodeAndTimed() {
        double counted = Metrics.REQUESTS.labels("explanations", "400").get();
        double timed = Metrics.REQUEST_MS.labels("explanations").get().buckets[13];
        EmbeddedChannel connection = connect();
        ask(connection, "/explanations/mnist");
        answer(connection, HttpResponseStatus.CONTINUE);
        answer(connection, HttpResponseStatus.BAD_REQUEST);
        assertEquals(counted + 1, Metrics.REQUESTS.labels("explanations", "400").get(), 0);
        assertEquals(timed + 1, Metrics.REQUEST_MS.labels("explanations").get().buckets[13], 0);
        assertTrue(connection.isOpen());
    }

    @Test
    public void anUnknownEndpointIsCountedAsOther() {
        double counted = Metrics.REQUESTS.labels("other", "404").get();
        EmbeddedChannel connection = connect();
        ask(connection, "/no/such/thing");
        answer(connection, HttpResponseStatus.NOT_FOUND);
        assertEquals(counted + 1, Metrics.REQUESTS.labels("other", "404").get(), 0);
    }

    @Test
    public void everyRouteIsCountedByItsFirstSegment() throws IOException {
        try (Reader text = new InputStreamReader(RequestTracker.class.getResourceAsStream("openapi.json"), UTF_8)) {
            for (String path : JsonParser.parseReader(text).getAsJsonObject().getAsJsonObject("paths").keySet()) {
                String endpoint = path.split("/")[1];
                double counted = Metrics.REQUESTS.labels(endpoint, "200").get();
                EmbeddedChannel connection = connect();
                ask(connection, path);
                answer(connection, HttpResponseStatus.OK);
                assertEquals(path, counted + 1, Metrics.REQUESTS.labels(endpoint, "200").get(), 0);
            }
        }
    }

    @Test
    public void aRequestIsPassedOnOnlyOnceTheOneBeforeItIsAnswered() {
        EmbeddedChannel connection = connect();
        for (String uri : List.of("/predictions/a", "/predictions/b", "/predictions/c")) {
            ask(connection, uri);
        }
        for (String uri : List.of("/predictions/a", "/predictions/b", "/predictions/c")) {
            assertEquals(uri, ((HttpRequest) connection.readInbound()).uri());
            assertNull(connection.readInbound());
            answer(connection, HttpResponseStatus.OK);
            connection.runPendingTasks();
        }
        assertTrue(connection.isOpen());
    }

    @Test
    public void nothingBehindARequestInChunksIsARequest() {
        EmbeddedChannel connection = connect();
        DefaultFullHttpRequest request =
                new DefaultFullHttpRequest(HttpVersion.HTTP_1_1, HttpMethod.POST, "/predictions/mnist");
        request.headers().set("Transfer-Encoding", "chunked");
        connection.writeInbound(request);
        ask(connection, "/hidden");
        assertEquals("/predictions/mnist", ((HttpRequest) connection.readInbound()).uri());
        assertEquals("close", answer(connection, HttpResponseStatus.OK).headers().get("Connection"));
        connection.runPendingTasks();
        assertNull(connection.readInbound());
        assertFalse(connection.isOpen());
    }

    @Test
    public void aLengthWithASignIsRefused() {
        for (String length : List.of("+5", "-5", "5a", "99999999999999999999")) {
            EmbeddedChannel connection = connect();
            DefaultFullHttpRequest request =
                    new DefaultFullHttpRequest(HttpVersion.HTTP_1_1, HttpMethod.POST, "/predictions/mnist");
            request.headers().set("Content-Length", length);
            connection.writeInbound(request);
            DefaultFullHttpResponse refusal = connection.readOutbound();
            assertEquals(length, HttpResponseStatus.BAD_REQUEST, refusal.status());
            assertEquals("close", refusal.headers().get("Connection"));
            assertNull(connection.readInbound());
            assertFalse(connection.isOpen());
        }
    }

    @Test
    public void drainingClosesIdleConnectionsAndAnswersTheOthersFirst() throws Exception {
        // One when the server begins to stop, and one when idle connections are closed.
        CountDownLatch events = new CountDownLatch(2);
        EmbeddedChannel idle = connect();
        EmbeddedChannel busy =
                connect(
                        new ChannelInboundHandlerAdapter() {
                            @Override
                            public void userEventTriggered(ChannelHandlerContext context, Object event) {
                                events.countDown();
                            }
                        });
        ask(busy, "/predictions/mnist");
        CompletableFuture<Void> drained = CompletableFuture.runAsync(this::drain);
        assertTrue(events.await(10, TimeUnit.SECONDS));
        assertTrue(busy.isOpen());
        assertFalse(drained.isDone());
        DefaultFullHttpResponse last = answer(busy, HttpResponseStatus.OK);
        assertEquals("close", last.headers().get("Connection"));
        drained.join();
        assertFalse(busy.isOpen());
        assertFalse(idle.isOpen());
    }

    @Test
    public void drainingEndsAtItsDeadline() throws Exception {
        EmbeddedChannel busy = connect();
        ask(busy, "/predictions/mnist");
        double begin = seconds();
        RequestTracker.drain(connections, System.currentTimeMillis() + 600);
        assertTrue(seconds() - begin < 10);
        assertTrue(busy.isOpen());
    }

    private void drain() {
        try {
            RequestTracker.drain(connections, System.currentTimeMillis() + 20_000);
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }
}
