package digits.server;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;

import io.netty.channel.embedded.EmbeddedChannel;
import io.netty.handler.codec.http.DefaultFullHttpRequest;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpVersion;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.function.Supplier;
import org.junit.BeforeClass;
import org.junit.Test;

/** Which requests a port takes, by the names and pages that a browser tells. */
public final class BrowserGuardTest {
    private static final InetSocketAddress LOOPBACK = new InetSocketAddress("127.0.0.1", 8081);
    private static final InetSocketAddress ANY = new InetSocketAddress("0.0.0.0", 8082);
    private static final Supplier<BrowserGuard> MANAGEMENT = () -> BrowserGuard.forManagement(LOOPBACK);
    private static final Supplier<BrowserGuard> METRICS = () -> BrowserGuard.forMetrics(ANY);
    private static final int OK = 200;
    private static final int BAD = 400;
    private static final int FORBIDDEN = 403;

    @BeforeClass
    public static void startTorchServe() {
        TorchServe.start();
    }

    /** Returns the status with which a guard answers a request with headers as "Name: value"; 200 if it passes. */
    private static int ask(BrowserGuard guard, String line, String... headers) {
        String[] words = line.split(" ");
        DefaultFullHttpRequest request =
                new DefaultFullHttpRequest(HttpVersion.valueOf(words[2]), HttpMethod.valueOf(words[0]), words[1]);
        for (String header : headers) {
            request.headers().add(header.split(": ", 2)[0], header.split(": ", 2)[1]);
        }
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
            assertEquals(host, status, ask(guard.get(), "GET / HTTP/1.1", "Host: " + host));
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
        assertEquals(OK, ask(BrowserGuard.forManagement(named), "GET / HTTP/1.1", "Host: digits.INTERNAL:8081"));
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

    @Test
    public void aRequestHasOneHostAndAPath() {
        String here = "Host: localhost";
        assertEquals(OK, ask(MANAGEMENT.get(), "GET / HTTP/1.0"));
        assertEquals(FORBIDDEN, ask(MANAGEMENT.get(), "GET / HTTP/1.0", "Host: elsewhere.example"));
        assertEquals(BAD, ask(MANAGEMENT.get(), "GET / HTTP/1.1"));
        assertEquals(BAD, ask(MANAGEMENT.get(), "GET / HTTP/1.1", here, here));
        assertEquals(BAD, ask(MANAGEMENT.get(), "GET / HTTP/1.0", here, "HOST: elsewhere.example"));
        assertEquals(BAD, ask(MANAGEMENT.get(), "GET http://localhost/ HTTP/1.1", here));
        assertEquals(BAD, ask(MANAGEMENT.get(), "OPTIONS * HTTP/1.1", here));
    }

    @Test
    public void pagesOfOthersAreRefused() {
        for (Supplier<BrowserGuard> guard : List.of(MANAGEMENT, METRICS)) {
            for (String method : new String[] {"GET", "POST", "PUT", "DELETE", "OPTIONS"}) {
                String line = method + " /models HTTP/1.1";
                String here = "Host: localhost:8081";
                assertEquals(FORBIDDEN, ask(guard.get(), line, here, "Origin: http://elsewhere.example"));
                assertEquals(FORBIDDEN, ask(guard.get(), line, here, "Origin: null"));
                // The page has another port than this one.
                assertEquals(FORBIDDEN, ask(guard.get(), line, here, "Origin: " + TorchServe.PAGE));
                assertEquals(FORBIDDEN, ask(guard.get(), line, here, "Origin: http://localhost"));
                assertEquals(FORBIDDEN, ask(guard.get(), line, here, "Sec-Fetch-Site: cross-site"));
                assertEquals(FORBIDDEN, ask(guard.get(), line, here, "sec-fetch-site: same-site"));
                assertEquals(OK, ask(guard.get(), line, here, "Origin: http://localhost:8081"));
                assertEquals(OK, ask(guard.get(), line, here, "Sec-Fetch-Site: same-origin"));
                assertEquals(OK, ask(guard.get(), line, here, "Sec-Fetch-Site: none"));
                assertEquals(FORBIDDEN, ask(guard.get(), method + " / HTTP/1.0", "Origin: http://"));
                // A link may be followed.
                String[] link = {here, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"};
                assertEquals(method.equals("GET") ? OK : FORBIDDEN, ask(guard.get(), line, link));
            }
        }
    }

    @Test
    public void onlyTheConfiguredPageMaySendPictures() {
        String line = "POST /predictions/mnist HTTP/1.1";
        String host = "Host: torchserve";
        assertEquals(OK, ask(BrowserGuard.forInference(), line));
        assertEquals(OK, ask(BrowserGuard.forInference(), line, host));
        assertEquals(OK, ask(BrowserGuard.forInference(), line, host, "Origin: " + TorchServe.PAGE));
        assertEquals(FORBIDDEN, ask(BrowserGuard.forInference(), line, host, "Origin: http://elsewhere.example"));
        assertEquals(FORBIDDEN, ask(BrowserGuard.forInference(), line, host, "Origin: null"));
    }
}
