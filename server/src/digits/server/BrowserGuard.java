package digits.server;

import io.netty.handler.codec.http.FullHttpRequest;
import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.util.NetUtil;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import org.pytorch.serve.util.ConfigManager;

/**
 * Refuses requests that a foreign web page makes a browser send to a local port.
 *
 * <p>Browsers name the page in Origin, except in a GET, which changes nothing here and whose answer the page cannot
 * read. After DNS rebinding it could, but then Host has the page's name. Other clients send no Origin.
 */
final class BrowserGuard {
    private final InetSocketAddress address;
    private final boolean hasAnyName;

    /** Guards a port for operators, where Host must have a known name unless the port has any. */
    BrowserGuard(InetSocketAddress address, boolean hasAnyName) {
        this.address = address;
        this.hasAnyName = hasAnyName;
    }

    /**
     * Lets the page at cors_allowed_origin alone send requests to the inference port; any page if none is configured.
     *
     * <p>Any Host is known there: gateways send their own, and decide about pages.
     */
    static FullHttpRequest checkPage(FullHttpRequest request) {
        String page = ConfigManager.getInstance().getCorsAllowedOrigin();
        List<String> origins = request.headers().getAll(HttpHeaderNames.ORIGIN);
        boolean isForAll = origins.isEmpty() || page == null || page.isEmpty() || page.equals("*");
        if (!isForAll && !origins.stream().allMatch(page::equalsIgnoreCase)) {
            throw refuse("Requests from this origin are not allowed: add it to cors_allowed_origin.");
        }
        return request;
    }

    /** Lets no page but the port's own send requests to it. */
    FullHttpRequest check(FullHttpRequest request) {
        // HTTP/1.0 needs no Host header; browsers do not use it.
        String host = request.headers().get(HttpHeaderNames.HOST);
        if (host != null && !isKnown(host.toLowerCase(Locale.ROOT))) {
            String configured = address.getHostString();
            throw refuse("Unknown Host header: use localhost or " + configured + ", the address in the configuration.");
        }
        for (String origin : request.headers().getAll(HttpHeaderNames.ORIGIN)) {
            if (host == null || !origin.replaceFirst("^https?://", "").equalsIgnoreCase(host)) {
                throw refuse("Web pages may not use this port: use scripts/manage, curl or Prometheus.");
            }
        }
        return request;
    }

    private static Refusal refuse(String sentence) {
        return new Refusal(HttpResponseStatus.FORBIDDEN, sentence);
    }

    /** Returns whether a host, in lower case, is the port's. */
    private boolean isKnown(String host) {
        Matcher parts = HeadGuard.HOST.matcher(host);
        if (!parts.matches()) {
            return false;
        }
        String name = parts.group("ipv6") == null ? parts.group("name") : parts.group("ipv6");
        InetAddress literal = NetUtil.createInetAddressFromIpAddressString(name);
        if (name.equals("localhost") || name.equalsIgnoreCase(address.getHostString())) {
            return true;
        }
        if (literal == null) {
            return hasAnyName && parts.group("name") != null;
        }
        // After DNS rebinding Host holds a name: an address is harmless.
        InetAddress own = address.getAddress();
        return own.isAnyLocalAddress() || literal.isLoopbackAddress() || literal.equals(own);
    }
}
