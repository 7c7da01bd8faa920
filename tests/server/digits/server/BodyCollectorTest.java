package digits.server;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;

import io.netty.buffer.Unpooled;
import io.netty.channel.embedded.EmbeddedChannel;
import io.netty.handler.codec.http.DefaultHttpContent;
import io.netty.handler.codec.http.DefaultHttpRequest;
import io.netty.handler.codec.http.DefaultLastHttpContent;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.handler.codec.http.LastHttpContent;
import org.junit.Before;
import org.junit.BeforeClass;
import org.junit.Test;
import org.pytorch.serve.util.ConfigManager;

/** Which requests have room, and which are refused. */
public final class BodyCollectorTest {
    /** Room for two and a half bodies of the test. */
    private static final int LIMIT = 50_000;
    private static final int BODY = 20_000;

    private BodyBudget budget;

    @BeforeClass
    public static void startTorchServe() {
        TorchServe.start();
    }

    @Before
    public void beginWithNothing() {
        ConfigManager.getInstance().setProperty("max_request_size", "40000");
        budget = new BodyBudget(LIMIT);
    }

    private EmbeddedChannel connect() {
        return new EmbeddedChannel(new BodyCollector(budget), new AnswerWriter(), new RequestChecks());
    }

    private static HttpRequest head(int size) {
        HttpRequest head = new DefaultHttpRequest(HttpVersion.HTTP_1_1, HttpMethod.POST, "/predictions/mnist");
        head.headers().set("Content-Length", size);
        return head;
    }

    private static HttpRequest chunked() {
        HttpRequest head = head(0);
        head.headers().remove("Content-Length").set("Transfer-Encoding", "chunked");
        return head;
    }

    private static LastHttpContent end() {
        return new DefaultLastHttpContent(Unpooled.copyInt(1));
    }

    private static void assertTaken(EmbeddedChannel connection) {
        assertNull(connection.readOutbound());
        FullHttpRequest request = connection.readInbound();
        assertNotNull(request);
        request.release();
    }

    private static FullHttpResponse assertRefused(EmbeddedChannel connection, int status) {
        FullHttpResponse answer = connection.readOutbound();
        assertEquals(status, answer.status().code());
        assertNull(connection.readInbound());
        return answer;
    }

    @Test
    public void aRequestWithoutRoomIsRefusedAtOnceAndItsBodyDropped() {
        EmbeddedChannel first = connect();
        EmbeddedChannel second = connect();
        EmbeddedChannel third = connect();
        first.writeInbound(head(BODY));
        second.writeInbound(head(BODY));
        third.writeInbound(head(BODY));
        assertEquals("1", assertRefused(third, 503).headers().get("Retry-After"));
        LastHttpContent dropped = end();
        third.writeInbound(dropped);
        assertEquals(0, dropped.refCnt());
        assertTrue(third.isOpen());
        first.writeInbound(end());
        assertTaken(first);
        third.writeInbound(head(BODY), end());
        assertTaken(third);
    }

    @Test
    public void whatWaitsForAWorkerIsCounted() {
        budget.take(LIMIT);
        EmbeddedChannel connection = connect();
        connection.writeInbound(head(BODY), end());
        assertRefused(connection, 503);
        budget.giveBack(BODY);
        connection.writeInbound(head(BODY), end());
        assertTaken(connection);
    }

    @Test
    public void aSmallRequestNeedsNoRoomAndALargeOneGetsItsOwnRefusal() {
        budget.take(LIMIT);
        EmbeddedChannel connection = connect();
        connection.writeInbound(head(100), end());
        assertTaken(connection);
        HttpRequest large = head(40_001);
        large.headers().set("Origin", TorchServe.PAGE);
        connection.writeInbound(large);
        String origin = assertRefused(connection, 413).headers().get("Access-Control-Allow-Origin");
        assertEquals(TorchServe.PAGE, origin);
        assertTrue(connection.isOpen());
    }

    @Test
    public void aRequestOfUnknownSizeCountsAsTheLargest() {
        EmbeddedChannel first = connect();
        EmbeddedChannel second = connect();
        first.writeInbound(chunked());
        second.writeInbound(head(BODY));
        assertRefused(second, 503);
        first.writeInbound(new DefaultHttpContent(Unpooled.wrappedBuffer(new byte[40_001])));
        assertRefused(first, 413);
        second.writeInbound(end(), head(BODY), end());
        assertTaken(second);
    }

    @Test
    public void aRefusedClientThatWaitsFor100IsClosed() {
        EmbeddedChannel connection = connect();
        HttpRequest head = head(40_001);
        head.headers().set("Expect", "100-continue");
        connection.writeInbound(head);
        assertEquals("close", assertRefused(connection, 413).headers().get("Connection"));
        assertFalse(connection.isOpen());
    }

    @Test
    public void aConnectionThatBreaksOffGivesItsMemoryBack() {
        EmbeddedChannel broken = connect();
        broken.writeInbound(head(2 * BODY), new DefaultHttpContent(Unpooled.copyInt(1)));
        broken.close();
        EmbeddedChannel next = connect();
        next.writeInbound(head(2 * BODY), end());
        assertTaken(next);
    }

    @Test
    public void aSlowRequestIsRefusedOnceMemoryIsShort() {
        EmbeddedChannel slow = connect();
        slow.writeInbound(head(8_000 + BODY));
        BodyCollector collector = slow.pipeline().get(BodyCollector.class);
        ConfigManager.getInstance().setProperty("max_request_size", "40000");
        budget.giveBack(BODY);
        collector.checkArrival(slow.pipeline().firstContext());
        assertNull(slow.readOutbound());
        budget.take(BODY);
        collector.checkArrival(slow.pipeline().firstContext());
        assertRefused(slow, 408);
        assertFalse(slow.isOpen());
    }
}
