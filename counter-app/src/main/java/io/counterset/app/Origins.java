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
 * Refuses increments that a page of another origin makes its visitors' browsers send (RFC 6454). A browser tells where a request
 * comes from by {@code Sec-Fetch-Site}, and older ones by {@code Origin}; clients that are no browsers send neither.
 */
@Singleton
final class Origins {

    private final HttpServerConfiguration.CorsConfiguration cors;

    Origins(HttpServerConfiguration server) {
        this.cors = server.getCors();
    }

    /**
     * Requires that no other origin, unless the settings of CORS allow it, caused this request.
     *
     * @throws Problem.Refusal if one did; nothing was added
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

    /** Returns host and port in one form, or the text itself if it has none, which then equals no host. */
    private static String authority(@Nullable String origin) {
        try {
            URI uri = new URI(origin == null ? "" : origin);
            if (uri.getHost() == null) {
                return "origin " + origin;
            }
            // The scheme is the proxy's where TLS ends there, so it cannot be compared.
            int port = uri.getPort() == 80 || uri.getPort() == 443 ? -1 : uri.getPort();
            return uri.getHost().toLowerCase(Locale.ROOT) + ":" + port;
        } catch (URISyntaxException e) {
            return "origin " + origin;
        }
    }
}
