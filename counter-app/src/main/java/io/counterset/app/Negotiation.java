package io.counterset.app;

import io.micronaut.http.HttpHeaders;
import io.micronaut.http.HttpRequest;
import io.micronaut.http.HttpResponse;
import io.micronaut.http.MediaType;
import io.micronaut.http.MutableHttpResponse;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;

/** Which of the media types that a resource offers a client likes best (RFC 9110, section 12.5.1). */
final class Negotiation {

    static final MediaType JSON = MediaType.APPLICATION_JSON_TYPE;
    static final MediaType TEXT = new MediaType("text/plain; charset=utf-8");
    static final MediaType HTML = new MediaType("text/html; charset=utf-8");

    private Negotiation() {}

    /**
     * Returns the one of {@code offered} that the client likes best, the first of equals.
     *
     * @throws Problem.Refusal if it accepts none
     */
    static MediaType best(HttpRequest<?> request, MediaType... offered) {
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

    /** Returns whether a person sees the answer: a browser asks for a page. */
    static boolean prefersHtml(HttpRequest<?> request) {
        List<MediaType> accepted = request.getHeaders().accept();
        return quality(HTML, accepted) > quality(JSON, accepted);
    }

    /** Returns an answer of that type, which is never to be shown again as if it were new. */
    static MutableHttpResponse<?> fresh(MediaType type, Object body) {
        return HttpResponse.ok(body)
                .contentType(type)
                .header(HttpHeaders.CACHE_CONTROL, "no-store")
                .header(HttpHeaders.VARY, HttpHeaders.ACCEPT);
    }

    /** Returns the quality that the most specific matching range gives. */
    private static double quality(MediaType type, List<MediaType> accepted) {
        int specificity = -1;
        double quality = 0;
        for (MediaType range : accepted) {
            int found;
            if (range.getName().equals(type.getName())) {
                found = 2;
            } else if (range.getSubtype().equals("*")) {
                found = range.getType().equals("*") ? 0 : range.getType().equals(type.getType()) ? 1 : -1;
            } else {
                found = -1;
            }
            if (found > specificity) {
                specificity = found;
                quality = range.getQualityAsNumber().doubleValue();
            }
        }
        return quality;
    }
}
