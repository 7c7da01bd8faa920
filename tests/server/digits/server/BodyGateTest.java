package digits.server;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;

import io.netty.buffer.Unpooled;
import io.netty.channel.embedded.EmbeddedChannel;
import io.netty.handler.codec.http.DefaultHttpContent;
import io.netty.handler.codec.http.DefaultHttpRequest;
import io.netty.handler.codec.http.DefaultLastHttpContent;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.handler.codec.http.LastHttpContent;
import io.netty.util.ReferenceCountUtil;
import org.junit.Before;
import org.junit.BeforeClass;
import org.junit.Test;
import org.pytorch.serve.util.ConfigManager;

/** Which requests are let in, and when the others follow. */
public final class BodyGateTest {
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
        return new EmbeddedChannel(new BodyGate(budget));
    }

    private static HttpRequest head(int size) {
        HttpRequest head = new DefaultHttpRequest(HttpVersion.HTTP_1_1, HttpMethod.POST, "/predictions/mnist");
        head.headers().set("Content-Length", size);
        return head;
    }

    private static LastHttpContent end() {
        return new DefaultLastHttpContent(Unpooled.copyInt(1));
    }

    private static int countIn(EmbeddedChannel connection) {
        connection.runPendingTasks();
        int count = 0;
        for (Object message = connection.readInbound(); message != null; message = connection.readInbound()) {
            ReferenceCountUtil.release(message);
            count++;
        }
        return count;
    }

    @Test
    public void aRequestWaitsUnreadUntilAnotherHasArrived() {
        EmbeddedChannel first = connect();
        EmbeddedChannel second = connect();
        EmbeddedChannel third = connect();
        first.writeInbound(head(BODY));
        second.writeInbound(head(BODY));
        third.writeInbound(head(BODY), end(), head(BODY), end());
        assertEquals(1, countIn(first));
        assertEquals(1, countIn(second));
        assertEquals(0, countIn(third));
        assertFalse(third.config().isAutoRead());
        first.writeInbound(end());
        assertEquals(4, countIn(third));
        assertTrue(third.config().isAutoRead());
        second.writeInbound(end());
        assertFalse(budget.isShort());
    }

    @Test
    public void theFirstThatWaitsIsTheFirstLetIn() {
        budget.add(LIMIT);
        EmbeddedChannel large = connect();
        EmbeddedChannel small = connect();
        large.writeInbound(head(2 * BODY));
        small.writeInbound(head(BODY));
        budget.release(BODY);
        assertEquals(0, countIn(small));
        budget.release(LIMIT - BODY);
        assertEquals(1, countIn(large));
        assertEquals(0, countIn(small));
    }

    @Test
    public void aSmallRequestAndOneThatIsTooLargeDoNotWait() {
        budget.add(LIMIT);
        for (int size : new int[] {100, 40_001}) {
            EmbeddedChannel connection = connect();
            connection.writeInbound(head(size), end());
            assertEquals(2, countIn(connection));
        }
    }

    @Test
    public void aRequestOfUnknownSizeCountsAsTheLargest() {
        HttpRequest chunked = head(0);
        chunked.headers().remove("Content-Length").set("Transfer-Encoding", "chunked");
        EmbeddedChannel first = connect();
        EmbeddedChannel second = connect();
        first.writeInbound(chunked);
        second.writeInbound(head(BODY));
        assertEquals(1, countIn(first));
        assertEquals(0, countIn(second));
    }

    @Test
    public void aConnectionThatBreaksOffGivesItsMemoryBack() {
        EmbeddedChannel inside = connect();
        EmbeddedChannel waiting = connect();
        EmbeddedChannel next = connect();
        inside.writeInbound(head(2 * BODY));
        LastHttpContent held = end();
        waiting.writeInbound(head(BODY), held);
        next.writeInbound(head(BODY));
        waiting.close();
        assertEquals(0, held.refCnt());
        inside.close();
        assertEquals(1, countIn(next));
        next.writeInbound(new DefaultHttpContent(Unpooled.copyInt(1)));
        next.close();
        EmbeddedChannel last = connect();
        last.writeInbound(head(2 * BODY));
        assertEquals(1, countIn(last));
    }

    @Test
    public void aSlowRequestIsRefusedWhenOthersWait() {
        EmbeddedChannel slow = connect();
        slow.writeInbound(head(2 * BODY));
        ((BodyGate) slow.pipeline().first()).checkArrival();
        assertNull(slow.readOutbound());
        EmbeddedChannel waiting = connect();
        waiting.writeInbound(head(BODY));
        ((BodyGate) slow.pipeline().first()).checkArrival();
        assertTrue(slow.readOutbound().toString().contains("408 Request Timeout"));
        assertFalse(slow.isOpen());
        assertEquals(1, countIn(waiting));
    }
}
