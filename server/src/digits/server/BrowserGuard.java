package digits.server;

import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaders;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.util.NetUtil;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.Matcher;
import org.pytorch.serve.http.ErrorResponse;
import org.pytorch.serve.util.ConfigManager;
import org.pytorch.serve.util.NettyUtils;

/**
 * Refuses requests that a foreign web page makes a browser send to a local port.
 *
 * <p>Browsers send the page's origin (Origin, Sec-Fetch-Site) and the name in the URL (Host). After DNS rebinding the
 * page counts as same-origin, but Host still carries its name. Other clients send no Origin.
 */
final class BrowserGuard extends ChannelInboundHandlerAdapter {
    private static final String WHOSE = "Sec-Fetch-Site";
    private static final Set<String> OTHERS = Set.of("cross-site", "same-site");

    private final Rule rule;

    private BrowserGuard(Rule rule) {
        this.rule = rule;
    }

    /** The requests that a port refuses. */
    @FunctionalInterface
    private interface Rule {
        /** Throws Refused if the request is not allowed. */
        void check(HttpRequest request) throws Refused;
    }

    /** Why a request is refused. */
    private static final class Refused extends Exception {
        private static final long serialVersionUID = 1;

        Refused(String sentence) {
            super(sentence);
        }
    }

    /**
     * Returns the guard of the inference port.
     *
     * <p>It accepts any Host: gateways send their own. Without cors_allowed_origin it accepts any Origin too: a gateway
     * then decides about pages.
     */
    static BrowserGuard forInference() {
        String page = ConfigManager.getInstance().getCorsAllowedOrigin();
        boolean isForAll = page == null || page.isEmpty() || page.equals("*");
        return new BrowserGuard(request -> {
            for (String origin : isForAll ? List.<String>of() : request.headers().getAll(HttpHeaderNames.ORIGIN)) {
                if (!origin.equalsIgnoreCase(page)) {
                    String sentence = "Requests from this origin are not allowed: add it to cors_allowed_origin.";
                    throw new Refused(sentence);
                }
            }
        });
    }

    /** Returns the guard of the management port at an address. */
    static BrowserGuard forManagement(InetSocketAddress address) {
        return new BrowserGuard(request -> checkForOperators(request, address, false));
    }

    /** Returns the guard of the metrics port; at 0.0.0.0 it accepts any name, since only its network knows them. */
    static BrowserGuard forMetrics(InetSocketAddress address) {
        return new BrowserGuard(
                request -> checkForOperators(request, address, address.getAddress().isAnyLocalAddress()));
    }

    @Override
    public void channelRead(ChannelHandlerContext context, Object message) {
        FullHttpRequest request = (FullHttpRequest) message;
        try {
            rule.check(request);
            context.fireChannelRead(message);
        } catch (Refused e) {
            HttpResponseStatus status = HttpResponseStatus.FORBIDDEN;
            ErrorResponse answer = new ErrorResponse(status.code(), status.reasonPhrase(), e.getMessage());
            NettyUtils.sendJsonResponse(context, answer, status);
            request.release();
        }
    }

    private static void checkForOperators(HttpRequest request, InetSocketAddress address, boolean hasAnyName)
            throws Refused {
        // HTTP/1.0 needs no Host header; browsers do not use it.
        String host = request.headers().get(HttpHeaderNames.HOST);
        if (host != null && !isName(host, address, hasAnyName)) {
            String sentence =
                    "Unknown Host header: use localhost or " + address.getHostString()
                            + ", the address in the configuration.";
            throw new Refused(sentence);
        }
        if (isOfAnotherPage(request, host == null ? "" : host)) {
            String sentence = "Web pages may not use this port: use scripts/manage, curl or Prometheus.";
            throw new Refused(sentence);
        }
    }

    /** Returns whether a Host header names the port at an address. */
    private static boolean isName(String host, InetSocketAddress address, boolean hasAnyName) {
        Matcher parts = HeadGuard.HOST.matcher(host.toLowerCase(Locale.ROOT));
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
        // After DNS rebinding Host holds a name: an address is harmless.
        InetAddress own = address.getAddress();
        return own.isAnyLocalAddress() || isLoopback(literal) || Arrays.equals(literal, own.getAddress());
    }

    private static boolean isLoopback(byte[] literal) {
        try {
            return InetAddress.getByAddress(literal).isLoopbackAddress();
        } catch (UnknownHostException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Returns whether a foreign page sent the request; following a link from it is allowed. */
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
