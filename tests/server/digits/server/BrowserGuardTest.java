package digits.server;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;

import io.netty.channel.embedded.EmbeddedChannel;
import io.netty.handler.codec.http.DefaultFullHttpRequest;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpVersion;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.function.Supplier;
import org.junit.BeforeClass;
import org.junit.Test;

/** By which names a port is known; tests/server/test_doors.py asks as the pages of others do. */
public final class BrowserGuardTest {
    private static final InetSocketAddress LOOPBACK = new InetSocketAddress("127.0.0.1", 8081);
    private static final InetSocketAddress ANY = new InetSocketAddress("0.0.0.0", 8082);
    private static final Supplier<BrowserGuard> MANAGEMENT = () -> BrowserGuard.forManagement(LOOPBACK);
    private static final Supplier<BrowserGuard> METRICS = () -> BrowserGuard.forMetrics(ANY);
    private static final int OK = 200;
    private static final int FORBIDDEN = 403;

    @BeforeClass
    public static void startTorchServe() {
        TorchServe.start();
    }

    /** Returns the status with which a guard answers a request for a Host; 200 if it passes. */
    private static int ask(BrowserGuard guard, String host) {
        FullHttpRequest request = new DefaultFullHttpRequest(HttpVersion.HTTP_1_1, HttpMethod.GET, "/");
        request.headers().set("Host", host);
        EmbeddedChannel channel = new EmbeddedChannel(guard);
        if (channel.writeInbound(request)) {
            assertNull(channel.readOutbound());
            return OK;
        }
        assertEquals(0, request.refCnt());
        FullHttpResponse answer = channel.readOutbound();
        assertTrue(answer.content().toString(StandardCharsets.UTF_8).contains("\"message\": \""));
        return answer.status().code();
    }

    private static void assertHosts(Supplier<BrowserGuard> guard, int status, String... hosts) {
        for (String host : hosts) {
            assertEquals(host, status, ask(guard.get(), host));
        }
    }

    @Test
    public void aPortOfThisMachineIsKnownByItsNames() {
        assertHosts(
                MANAGEMENT, OK, "127.0.0.1", "127.0.0.1:8081", "127.9.9.9:1", "localhost", "LocalHost:8081",
                "localhost.:8081", "[::1]:8081", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]");
    }

    @Test
    public void anyOtherNameMayBeThatOfAPage() {
        assertHosts(
                MANAGEMENT, FORBIDDEN, "elsewhere.example:8081", "127.0.0.1.elsewhere.example", "localhost.example",
                "elsewhere.example.", "0.0.0.0:8081", "10.0.0.1", "[::]", "[fe80::1]", "127.1", "2130706433",
                "127.0.0.1..", "localhost@elsewhere.example", "elsewhere.example@localhost", "localhost:8081:1",
                "localhost, elsewhere.example", "localhost/", "::1", "[localhost]", "", "\u212aocalhost");
    }

    @Test
    public void theConfiguredNameIsKnown() {
        // Not looked up: the name is told.
        InetSocketAddress named = InetSocketAddress.createUnresolved("Digits.internal", 8081);
        assertEquals(OK, ask(BrowserGuard.forManagement(named), "digits.INTERNAL:8081"));
    }

    @Test
    public void atAllAddressesAnAddressIsKnownAndForMetricsAnyName() {
        String[] addresses = {"10.0.0.1:8082", "[fe80::1]:8082", "0.0.0.0", "localhost"};
        String[] names = {"service:8082", "service.digits.svc.cluster.local"};
        assertHosts(METRICS, OK, addresses);
        assertHosts(METRICS, OK, names);
        assertHosts(METRICS, FORBIDDEN, "a@b", "a b", "[service]");
        assertHosts(() -> BrowserGuard.forManagement(ANY), OK, addresses);
        assertHosts(() -> BrowserGuard.forManagement(ANY), FORBIDDEN, names);
    }
}
