package digits.server;

import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaders;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpVersion;
import io.netty.util.NetUtil;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.pytorch.serve.http.ErrorResponse;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.util.NettyUtils;

/**
 * Refuses what the page of another site makes a browser ask of a port that only this machine, or its network, reaches.
 *
 * <p>A browser says whose page asks (Origin, Sec-Fetch-Site), and by which name it found the port (Host): the page's
 * own, if the page's owner has let that name lead to this machine (DNS rebinding). Other clients say nothing of a page.
 */
final class BrowserGuard extends ChannelInboundHandlerAdapter {
    private static final Pattern HOST =
            Pattern.compile("(?:\\[(?<ipv6>[0-9a-f:.]+)]|(?<name>[0-9a-z_-]+(?:\\.[0-9a-z_-]+)*)\\.?)(?::\\d{1,5})?");
    private static final String WHOSE = "Sec-Fetch-Site";
    private static final Set<String> OTHERS = Set.of("cross-site", "same-site");

    private final Door door;

    private BrowserGuard(Door door) {
        this.door = door;
    }

    /** What a port has against a request. */
    @FunctionalInterface
    private interface Door {
        /** Throws Refused, or returns. */
        void check(HttpRequest request) throws Refused;
    }

    /** Why a request is refused. */
    private static final class Refused extends Exception {
        private static final long serialVersionUID = 1;
        private final HttpResponseStatus status;

        Refused(HttpResponseStatus status, String sentence) {
            super(sentence);
            this.status = status;
        }
    }

    /**
     * Returns that of the inference port.
     *
     * <p>Any Host is right: gateways send their own, and answers are no secret from whoever sends the pictures. Where
     * no page is configured, a gateway decides about pages.
     */
    static BrowserGuard forInference() {
        String page = ConfigManager.getInstance().getCorsAllowedOrigin();
        boolean isForAll = page == null || page.isEmpty() || page.equals("*");
        return new BrowserGuard(request -> {
            for (String origin : isForAll ? List.<String>of() : request.headers().getAll(HttpHeaderNames.ORIGIN)) {
                if (!origin.equalsIgnoreCase(page)) {
                    String sentence = "Of web pages, only those at cors_allowed_origin may ask: set it to this page's.";
                    throw new Refused(HttpResponseStatus.FORBIDDEN, sentence);
                }
            }
        });
    }

    /** Returns that of the management port at an address. */
    static BrowserGuard forManagement(InetSocketAddress address) {
        return new BrowserGuard(request -> checkForOperators(request, address, false));
    }

    /** Returns that of the metrics port at an address; at 0.0.0.0 it has names that only its network knows. */
    static BrowserGuard forMetrics(InetSocketAddress address) {
        return new BrowserGuard(
                request -> checkForOperators(request, address, address.getAddress().isAnyLocalAddress()));
    }

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        FullHttpRequest request = (FullHttpRequest) message;
        try {
            door.check(request);
            context.fireChannelRead(message);
        } catch (Refused e) {
            ErrorResponse answer = new ErrorResponse(e.status.code(), e.status.reasonPhrase(), e.getMessage());
            NettyUtils.sendJsonResponse(context, answer, e.status);
            request.release();
        }
    }

    private static void checkForOperators(HttpRequest request, InetSocketAddress address, boolean hasAnyName)
            throws Refused {
        List<String> hosts = request.headers().getAll(HttpHeaderNames.HOST);
        // HTTP/1.0 has no Host, and no browser speaks it.
        boolean isOld = hosts.isEmpty() && HttpVersion.HTTP_1_0.equals(request.protocolVersion());
        if (hosts.size() != 1 && !isOld) {
            throw new Refused(HttpResponseStatus.BAD_REQUEST, "The request must have one header Host.");
        }
        // With a whole URL there, its name would count, not that of the header.
        if (!request.uri().startsWith("/")) {
            throw new Refused(HttpResponseStatus.BAD_REQUEST, "The path of the request must begin with /.");
        }
        if (!isOld && !isName(hosts.get(0), address, hasAnyName)) {
            String sentence =
                    "This port is not known by the name in the header Host: ask for it as localhost, or as "
                            + address.getHostString() + ", its address in the configuration.";
            throw new Refused(HttpResponseStatus.FORBIDDEN, sentence);
        }
        if (isOfAnotherPage(request, isOld ? "" : hosts.get(0))) {
            String sentence = "Web pages may not use this port: ask with scripts/manage, curl or Prometheus.";
            throw new Refused(HttpResponseStatus.FORBIDDEN, sentence);
        }
    }

    /** Tells whether the Host of a request names a port at an address. */
    private static boolean isName(String host, InetSocketAddress address, boolean hasAnyName) {
        Matcher parts = HOST.matcher(host.toLowerCase(Locale.ROOT));
        if (!parts.matches()) {
            return false;
        }
        String name = parts.group("ipv6") == null ? parts.group("name") : parts.group("ipv6");
        byte[] literal = NetUtil.createByteArrayFromIpAddressString(name);
        if (name.equals("localhost") || name.equalsIgnoreCase(address.getHostString())) {
            return true;
        }
        if (literal == null) {
            return hasAnyName && parts.group("name") != null;
        }
        // A browser that was led here by a name sends the name: an address is harmless.
        return address.getAddress().isAnyLocalAddress() || isLoopback(literal);
    }

    private static boolean isLoopback(byte[] literal) {
        try {
            return InetAddress.getByAddress(literal).isLoopbackAddress();
        } catch (UnknownHostException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Tells whether a page asks that does not come from the port itself; a person may follow its links here. */
    private static boolean isOfAnotherPage(HttpRequest request, String host) {
        HttpHeaders headers = request.headers();
        for (String origin : headers.getAll(HttpHeaderNames.ORIGIN)) {
            boolean isOwn = origin.equalsIgnoreCase("http://" + host) || origin.equalsIgnoreCase("https://" + host);
            if (host.isEmpty() || !isOwn) {
                return true;
            }
        }
        boolean isLink =
                HttpMethod.GET.equals(request.method()) && "navigate".equals(headers.get("Sec-Fetch-Mode"));
        return !isLink && headers.getAll(WHOSE).stream().anyMatch(OTHERS::contains);
    }
}
