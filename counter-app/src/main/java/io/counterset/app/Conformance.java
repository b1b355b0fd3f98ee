// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.netty.handler.codec.http.HttpHeaderNames;
import io.netty.handler.codec.http.HttpHeaderValues;
import io.netty.handler.codec.http.HttpHeaders;
import io.netty.handler.codec.http.HttpMethod;
import io.netty.handler.codec.http.HttpRequest;
import io.netty.handler.codec.http.HttpVersion;
import java.util.List;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/** Finds what RFC 9110 and 9112 forbid in a request but the decoder and the framework accept. */
final class Conformance {

    /** {@code uri-host [":" port]} (RFC 9110, section 7.2). The host may be empty. */
    private static final Pattern HOST = Pattern.compile("(?:[\\w.~!$&'()*+,;=%-]*+|\\[[0-9A-Fa-f:.]++])(?::[0-9]*+)?");

    private Conformance() {}

    /**
     * Returns the fault of a decoded request, or null if it has none. Gives a request without fault
     * the version that it is served as and, if its target names a host, that host.
     *
     * @param secure whether the connection uses TLS
     */
    static @Nullable String fault(HttpRequest request, boolean secure) {
        String fault = faultOfVersion(request);
        if (fault != null) {
            request.setProtocolVersion(HttpVersion.HTTP_1_1);
            return fault;
        }
        String method = request.method().name();
        for (int i = 0; i < method.length(); i++) { // RFC 9110, section 9.1: "post" is another method than POST
            if (method.charAt(i) >= 'a' && method.charAt(i) <= 'z') {
                return "methods are case-sensitive, and written in capitals";
            }
        }
        HttpHeaders headers = request.headers();
        if (headers.contains(HttpHeaderNames.TRANSFER_ENCODING)) { // RFC 9112, section 6.1
            List<String> codings = headers.getAll(HttpHeaderNames.TRANSFER_ENCODING);
            if (codings.size() != 1 || !HttpHeaderValues.CHUNKED.contentEqualsIgnoreCase(codings.get(0))) {
                return "the only transfer coding is chunked, once";
            }
        }
        return faultOfHost(request, secure);
    }

    @SuppressWarnings("ReferenceEquality") // the decoder returns the constants only for the exact text
    private static @Nullable String faultOfVersion(HttpRequest request) {
        HttpVersion version = request.protocolVersion();
        if (version == HttpVersion.HTTP_1_1 || version == HttpVersion.HTTP_1_0) {
            return null;
        }
        if (version.majorVersion() != 1) { // RFC 9112, section 2.3
            return "the version of HTTP is not 1.1 or 1.0";
        }
        if (version.minorVersion() < 2) {
            return "the name of HTTP is written in capitals";
        }
        request.setProtocolVersion(HttpVersion.HTTP_1_1); // RFC 9110, section 2.5
        return null;
    }

    /**
     * RFC 9112, section 3.2: exactly one valid Host, which the host of an absolute target replaces.
     */
    private static @Nullable String faultOfHost(HttpRequest request, boolean secure) {
        HttpHeaders headers = request.headers();
        String host = headers.get(HttpHeaderNames.HOST);
        if (host == null ? request.protocolVersion().minorVersion() > 0 : hasSecond(headers)) {
            return "a request must have exactly one Host";
        }
        String target = request.uri();
        if (!target.startsWith("/")) {
            if (target.equals("*")) {
                return request.method().equals(HttpMethod.OPTIONS) ? null : "only OPTIONS has the target *";
            }
            int at = target.indexOf("://");
            if (at < 0 || !target.regionMatches(true, 0, secure ? "https" : "http", 0, Math.max(at, 4))) {
                return "the target is neither a path nor a URL of this connection's scheme";
            }
            int end = at + 3;
            while (end < target.length() && "/?#".indexOf(target.charAt(end)) < 0) {
                end++;
            }
            host = target.substring(at + 3, end);
            if (host.isEmpty()) { // RFC 9110, section 4.2.1
                return "the target has no host";
            }
            headers.set(HttpHeaderNames.HOST, host);
        }
        return host == null || HOST.matcher(host).matches() ? null : "Host must be a host, with or without a port";
    }

    private static boolean hasSecond(HttpHeaders headers) {
        var hosts = headers.valueCharSequenceIterator(HttpHeaderNames.HOST);
        hosts.next();
        return hosts.hasNext();
    }
}
