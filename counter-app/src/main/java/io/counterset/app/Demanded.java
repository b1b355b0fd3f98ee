// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.micronaut.http.HttpRequest;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;

/**
 * The header with which a request names the replica that must answer it, and an answer names the
 * replica that sent it. A load balancer may route a retry to another replica, which does not know
 * the idempotency key and would count again. With this header that replica refuses instead, and the
 * client retries until it reaches the right one.
 */
final class Demanded {

    static final String HEADER = "Counterset-Instance";

    private Demanded() {}

    /**
     * Requires that the request is for {@code instance}, or for any replica.
     *
     * @throws Problem.Refusal if it is for another one
     */
    static void require(HttpRequest<?> request, String instance) {
        String demanded = request.getHeaders().get(HEADER);
        if (demanded != null && !demanded.equals(encode(instance))) {
            throw new Problem.Refusal(
                    Problem.Type.MISDIRECTED, "nothing was added; retry on a new connection to reach another replica");
        }
    }

    /** Returns the name as a header value, percent-encoded unless it is a plain host name. */
    static String encode(String instance) {
        return URLEncoder.encode(instance, StandardCharsets.UTF_8).replace("+", "%20");
    }
}
