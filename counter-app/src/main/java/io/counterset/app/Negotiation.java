// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.micronaut.http.HttpHeaders;
import io.micronaut.http.HttpMethod;
import io.micronaut.http.HttpRequest;
import io.micronaut.http.HttpResponse;
import io.micronaut.http.MediaType;
import io.micronaut.http.MutableHttpResponse;
import io.micronaut.http.server.exceptions.ExceptionHandler;
import jakarta.inject.Singleton;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;

/**
 * Content negotiation: selects the media type that the client prefers (RFC 9110, section 12.5.1).
 */
final class Negotiation {

    static final MediaType JSON = MediaType.APPLICATION_JSON_TYPE;
    static final MediaType TEXT = new MediaType("text/plain; charset=utf-8");
    static final MediaType HTML = new MediaType("text/html; charset=utf-8");

    private Negotiation() {}

    /**
     * Returns the type in {@code offered} that the client prefers, or the first of several equally
     * preferred ones.
     *
     * @throws Problem.Refusal if the client accepts none, or if its condition on the representation
     *     is false
     * @throws NotModified if the request reads, and the condition is that there is no representation
     */
    static MediaType negotiate(HttpRequest<?> request, MediaType... offered) {
        requireCondition(request);
        List<MediaType> accepted = request.getHeaders().accept();
        if (accepted.isEmpty()) {
            return offered[0];
        }
        MediaType best = null;
        double bestQuality = 0;
        for (MediaType type : offered) {
            double quality = quality(type, accepted);
            if (quality > bestQuality) {
                best = type;
                bestQuality = quality;
            }
        }
        if (best == null) {
            throw new Problem.Refusal(
                    Problem.Type.NOT_ACCEPTABLE,
                    "offered: " + Arrays.stream(offered).map(MediaType::getName).collect(Collectors.joining(", ")));
        }
        return best;
    }

    /**
     * Evaluates the preconditions that can be false (RFC 9110, section 13). Every resource has a
     * representation, and none has an entity tag or a date.
     */
    private static void requireCondition(HttpRequest<?> request) {
        HttpHeaders headers = request.getHeaders();
        String match = headers.get(HttpHeaders.IF_MATCH);
        boolean requiresNone = "*".equals(headers.get(HttpHeaders.IF_NONE_MATCH));
        boolean isRead = request.getMethod() == HttpMethod.GET || request.getMethod() == HttpMethod.HEAD;
        if ((match != null && !match.strip().equals("*")) || (requiresNone && !isRead)) {
            throw new Problem.Refusal(
                    Problem.Type.PRECONDITION_FAILED, "a count has no entity tag, and exists from the start");
        }
        if (requiresNone) {
            throw new NotModified();
        }
    }

    /** Ends a read whose {@code If-None-Match} is {@code *}. */
    static final class NotModified extends RuntimeException {
        private static final long serialVersionUID = 1L;

        NotModified() {
            super(null, null, false, false);
        }
    }

    /** Answers it with 304 and the headers that the answer to the same read has. */
    @Singleton
    static final class NotModifiedResponse implements ExceptionHandler<NotModified, HttpResponse<?>> {

        @Override
        @SuppressWarnings("rawtypes")
        public HttpResponse<?> handle(HttpRequest request, NotModified condition) {
            return HttpResponse.notModified()
                    .header(HttpHeaders.CACHE_CONTROL, "no-store")
                    .header(HttpHeaders.VARY, HttpHeaders.ACCEPT);
        }
    }

    /** Returns whether the client prefers HTML to JSON, as browsers do. */
    static boolean prefersHtml(HttpRequest<?> request) {
        List<MediaType> accepted = request.getHeaders().accept();
        return quality(HTML, accepted) > quality(JSON, accepted);
    }

    /** Returns a 200 response of that type with {@code Cache-Control: no-store}. */
    static MutableHttpResponse<?> uncached(MediaType type, Object body) {
        return HttpResponse.ok(body)
                .contentType(type)
                .header(HttpHeaders.CACHE_CONTROL, "no-store")
                .header(HttpHeaders.VARY, HttpHeaders.ACCEPT);
    }

    /** Returns a 200 response with a section of the page, which runs no script. */
    static MutableHttpResponse<?> fragment(String html) {
        return uncached(HTML, html).header("Content-Security-Policy", Page.FRAGMENT_POLICY);
    }

    /** Returns the quality of the most specific matching range. */
    private static double quality(MediaType type, List<MediaType> accepted) {
        int specificity = -1;
        double quality = 0;
        for (MediaType range : accepted) {
            int found;
            if (range.getName().equalsIgnoreCase(type.getName())) {
                found = 2;
            } else if (range.getSubtype().equals("*")) {
                found = range.getType().equals("*") ? 0 : range.getType().equalsIgnoreCase(type.getType()) ? 1 : -1;
            } else {
                found = -1;
            }
            if (found > specificity) {
                specificity = found;
                quality = quality(range);
            }
        }
        return quality;
    }

    /**
     * Returns a range's quality. The framework knows only the lower case of the parameter's name.
     */
    private static double quality(MediaType range) {
        MediaType known = range.getParameters()
                .get("Q")
                .map(quality -> new MediaType(range.getName() + ";q=" + quality))
                .orElse(range);
        return known.getQualityAsNumber().doubleValue();
    }
}
