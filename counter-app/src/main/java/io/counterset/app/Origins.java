// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.micronaut.http.HttpHeaders;
import io.micronaut.http.HttpRequest;
import io.micronaut.http.server.HttpServerConfiguration;
import io.micronaut.http.server.cors.CorsOriginConfiguration;
import jakarta.inject.Singleton;
import java.net.URI;
import java.net.URISyntaxException;
import java.util.Locale;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Refuses increments that a page of another origin makes its visitors' browsers send (RFC 6454).
 * Browsers identify the origin of a request by {@code Sec-Fetch-Site}, older ones by
 * {@code Origin}. Other clients send neither.
 */
@Singleton
final class Origins {

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
        boolean own = site != null
                ? site.equals("same-origin") || site.equals("none")
                : authority(origin).equals(authority("http://" + headers.get(HttpHeaders.HOST)));
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
     * Returns the normalised host and port, or, if there is no host, a text that equals no host.
     */
    private static String authority(@Nullable String origin) {
        try {
            URI uri = new URI(origin == null ? "" : origin);
            if (uri.getHost() == null) {
                return "origin " + origin;
            }
            // The scheme is not compared: a proxy may terminate TLS.
            int port = uri.getPort() == 80 || uri.getPort() == 443 ? -1 : uri.getPort();
            return uri.getHost().toLowerCase(Locale.ROOT) + ":" + port;
        } catch (URISyntaxException e) {
            return "origin " + origin;
        }
    }
}
