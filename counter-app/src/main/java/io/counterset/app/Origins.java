// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.micronaut.http.HttpHeaders;
import io.micronaut.http.HttpRequest;
import io.micronaut.http.server.HttpServerConfiguration;
import io.micronaut.http.server.cors.CorsOriginConfiguration;
import jakarta.inject.Singleton;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Refuses increments that a page of another origin makes its visitors' browsers send (RFC 6454).
 * Browsers identify the origin of a request by {@code Sec-Fetch-Site}, older ones by
 * {@code Origin}. Other clients send neither.
 */
@Singleton
final class Origins {

    private static final Pattern AUTHORITY =
            Pattern.compile("(?<host>[^/?#@:\\[\\]\\s]+|\\[[0-9A-Fa-f:.]+])(?::(?<port>[0-9]{0,5}))?");
    private static final Pattern ORIGIN = Pattern.compile("(?<scheme>https?)://" + AUTHORITY.pattern());

    private final HttpServerConfiguration.CorsConfiguration cors;

    Origins(HttpServerConfiguration server) {
        this.cors = server.getCors();
    }

    /**
     * Requires that the request comes from this origin or one that the CORS settings allow.
     *
     * @throws Problem.Refusal if it does not; nothing was added
     */
    void refuseForeign(HttpRequest<?> request) {
        HttpHeaders headers = request.getHeaders();
        String origin = headers.get(HttpHeaders.ORIGIN);
        String site = headers.get("Sec-Fetch-Site");
        if (origin == null && site == null) {
            return;
        }
        boolean own = (site != null || origin == null)
                ? ("same-origin".equals(site) || "none".equals(site))
                : headers.getAll(HttpHeaders.ORIGIN).size() == 1 && isOrigin(origin, headers.get(HttpHeaders.HOST));
        if (!own && !isAllowed(origin)) {
            throw new Problem.Refusal(
                    Problem.Type.CROSS_ORIGIN,
                    "pages of other origins may count only if micronaut.server.cors.configurations allows their origin");
        }
    }

    private boolean isAllowed(@Nullable String origin) {
        return origin != null
                && cors.isEnabled()
                && cors.getConfigurations().values().stream().anyMatch(allowed -> isAllowed(allowed, origin));
    }

    private static boolean isAllowed(CorsOriginConfiguration allowed, String origin) {
        return allowed.getAllowedOriginsRegex()
                .map(regex -> Pattern.matches(regex, origin))
                .orElseGet(() -> allowed.getAllowedOrigins().contains(origin)
                        || allowed.getAllowedOrigins().equals(CorsOriginConfiguration.ANY));
    }

    /**
     * Returns whether an origin is that of the host. The host's scheme is unknown, because a proxy
     * may terminate TLS; it is taken to be the origin's.
     */
    private static boolean isOrigin(String origin, @Nullable String host) {
        Matcher page = ORIGIN.matcher(origin);
        Matcher here = AUTHORITY.matcher(host == null ? "" : host);
        return page.matches()
                && here.matches()
                && page.group("host").equalsIgnoreCase(here.group("host"))
                && port(page, page.group("scheme")) == port(here, page.group("scheme"));
    }

    private static int port(Matcher authority, String scheme) {
        String port = authority.group("port");
        return port != null && !port.isEmpty() ? Integer.parseInt(port) : scheme.equals("https") ? 443 : 80;
    }
}
