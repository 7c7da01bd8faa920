package digits.server;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertSame;
import static org.junit.Assert.assertTrue;

import io.netty.handler.codec.http.DefaultFullHttpRequest;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpVersion;
import java.net.InetSocketAddress;
import org.junit.BeforeClass;
import org.junit.Test;

/** By which names a port is known; tests/server/test_doors.py asks as the pages of others do. */
public final class BrowserGuardTest {
    private static final InetSocketAddress LOOPBACK = new InetSocketAddress("127.0.0.1", 8081);
    private static final InetSocketAddress ANY = new InetSocketAddress("0.0.0.0", 8082);
    private static final BrowserGuard MANAGEMENT = new BrowserGuard(LOOPBACK, false);
    private static final BrowserGuard METRICS = new BrowserGuard(ANY, true);

    @BeforeClass
    public static void startTorchServe() {
        TorchServe.start();
    }

    private static void assertHosts(BrowserGuard guard, boolean areKnown, String... hosts) {
        for (String host : hosts) {
            FullHttpRequest request = new DefaultFullHttpRequest(HttpVersion.HTTP_1_1, HttpMethod.GET, "/");
            request.headers().set("Host", host);
            try {
                assertSame(request, guard.check(request));
                assertTrue(host, areKnown);
            } catch (Refusal e) {
                assertEquals(403, e.answer().status().code());
                assertFalse(host, areKnown);
            }
        }
    }

    @Test
    public void aPortOfThisMachineIsKnownByItsNames() {
        assertHosts(
                MANAGEMENT, true, "127.0.0.1", "127.0.0.1:8081", "127.9.9.9:1", "localhost", "LocalHost:8081",
                "localhost.:8081", "[::1]:8081", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]");
    }

    @Test
    public void anyOtherNameMayBeThatOfAPage() {
        assertHosts(
                MANAGEMENT, false, "elsewhere.example:8081", "127.0.0.1.elsewhere.example", "localhost.example",
                "elsewhere.example.", "0.0.0.0:8081", "10.0.0.1", "[::]", "[fe80::1]", "127.1", "2130706433",
                "127.0.0.1..", "localhost@elsewhere.example", "elsewhere.example@localhost", "localhost:8081:1",
                "localhost, elsewhere.example", "localhost/", "::1", "[localhost]", "", "\u212aocalhost");
    }

    @Test
    public void theConfiguredNameIsKnown() {
        // Not looked up: the name is told.
        InetSocketAddress named = InetSocketAddress.createUnresolved("Digits.internal", 8081);
        assertHosts(new BrowserGuard(named, false), true, "digits.INTERNAL:8081");
    }

    @Test
    public void atAllAddressesAnAddressIsKnownAndForMetricsAnyName() {
        String[] addresses = {"10.0.0.1:8082", "[fe80::1]:8082", "0.0.0.0", "localhost"};
        String[] names = {"service:8082", "service.digits.svc.cluster.local"};
        assertHosts(METRICS, true, addresses);
        assertHosts(METRICS, true, names);
        assertHosts(METRICS, false, "a@b", "a b", "[service]");
        assertHosts(new BrowserGuard(ANY, false), true, addresses);
        assertHosts(new BrowserGuard(ANY, false), false, names);
    }
}
