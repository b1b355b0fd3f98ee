// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.micronaut.http.HttpHeaders;
import io.micronaut.http.HttpMethod;
import io.micronaut.http.HttpRequest;
import io.micronaut.http.HttpResponse;
import io.micronaut.http.MediaType;
import io.micronaut.http.annotation.Controller;
import io.micronaut.http.annotation.Get;
import io.micronaut.http.annotation.Produces;
import io.swagger.v3.oas.annotations.Hidden;
import java.util.List;
import java.util.Locale;

/**
 * Decides which requests to {@code /} count as visits, and serves robots.txt. docs/http.md
 * describes the rule.
 */
@Hidden
@Controller
final class Visits {

    /**
     * Parts of the user agents of clients without a visitor: load balancer checks and declared
     * bots.
     */
    private static final List<String> MACHINES = List.of(
            "bot",
            "crawl",
            "spider",
            "slurp",
            "health", // ELB-HealthChecker, Amazon-Route53-Health-Check-Service
            "googlehc",
            "kube-probe",
            "load balancer agent",
            "probe",
            "monitor",
            "uptime",
            "facebookexternalhit",
            "prometheus/");

    /**
     * Returns whether the request is a visit by a person or a person's program: not a {@code HEAD}
     * request, a prefetch, a request caused by another site, a load balancer check or a declared
     * bot.
     */
    static boolean isVisit(HttpRequest<?> request) {
        HttpHeaders headers = request.getHeaders();
        return request.getMethod() != HttpMethod.HEAD
                && !value(headers, "Sec-Fetch-Site").equals("cross-site")
                && !value(headers, "Sec-Purpose").contains("prefetch")
                && !value(headers, "Purpose").contains("prefetch")
                && !value(headers, "X-Purpose").contains("preview")
                && !value(headers, "X-Moz").contains("prefetch")
                && !isMachine(value(headers, HttpHeaders.USER_AGENT));
    }

    private static boolean isMachine(String client) {
        return MACHINES.stream().anyMatch(client::contains);
    }

    private static String value(HttpHeaders headers, String name) {
        String value = headers.get(name);
        return value == null ? "" : value.toLowerCase(Locale.ROOT);
    }

    /** Asks crawlers to stay away, since a page that counts its visitors has nothing to index. */
    @Get("/robots.txt")
    @Right.Needed(Right.NOTHING)
    @Produces(MediaType.ALL)
    HttpResponse<String> robots() {
        return HttpResponse.ok("User-agent: *\nDisallow: /\n").contentType(Negotiation.TEXT);
    }
}
