// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.micronaut.context.annotation.Requires;
import io.micronaut.context.condition.Condition;
import io.micronaut.context.condition.ConditionContext;
import io.micronaut.core.order.Ordered;
import io.micronaut.http.HttpMethod;
import io.micronaut.http.HttpRequest;
import io.micronaut.http.HttpResponse;
import io.micronaut.http.MutableHttpResponse;
import io.micronaut.http.annotation.RequestFilter;
import io.micronaut.http.annotation.ServerFilter;
import io.micronaut.http.filter.ServerFilterPhase;
import io.micronaut.management.endpoint.health.HealthEndpoint;
import io.micronaut.web.router.MethodBasedRouteInfo;
import io.micronaut.web.router.RouteAttributes;
import io.micronaut.web.router.RouteInfo;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Admits requests, or rejects them before anything is done. Created only if a setting needs it:
 * without tokens and a rate limit, requests are spared a filter.
 */
@ServerFilter(ServerFilter.MATCH_ALL_PATTERN)
@Requires(condition = Gate.IsWanted.class)
final class Gate implements Ordered {

    /** Whether any setting needs the gate. */
    static final class IsWanted implements Condition {
        @Override
        public boolean matches(@SuppressWarnings("rawtypes") ConditionContext context) {
            return Stream.of(Tokens.WRITE, Tokens.READ, Tokens.PEERS, CounterSettings.RATE_LIMIT)
                    .anyMatch(name -> context.getProperty(name, String.class).isPresent());
        }
    }

    private final Tokens tokens;
    private final Refusals refusals;
    private final @Nullable RateLimit limit;
    private final int managementPort;

    Gate(CounterSettings settings, Tokens tokens, Refusals refusals) {
        this.limit = settings.rate().limit() == 0 ? null : new RateLimit(settings.rate(), System::nanoTime);
        this.managementPort = settings.managementPort();
        this.tokens = tokens;
        this.refusals = refusals;
    }

    @Override
    public int getOrder() {
        return ServerFilterPhase.SECURITY.order();
    }

    /** Returns the rejection of the request, or null if it is admitted. */
    @RequestFilter
    @Nullable
    HttpResponse<?> admit(HttpRequest<?> request) {
        RouteInfo<?> route = RouteAttributes.getRouteInfo(request).orElse(null);
        if (isHealth(route) || (managementPort > 0 && request.getServerAddress().getPort() == managementPort)) {
            return null;
        }
        if (limit != null && !tokens.isPeer(request) && !limit.admits(request)) {
            return refuse(request, Problem.Type.TOO_MANY_REQUESTS, "nothing was added; retry in a second");
        }
        return switch (tokens.check(request, needed(request, route))) {
            case ALLOWED -> null;
            case UNKNOWN ->
                refuse(
                        request,
                        Problem.Type.TOKEN_REQUIRED,
                        "nothing was added; send Authorization: Bearer and a token");
            case INSUFFICIENT ->
                refuse(
                        request,
                        Problem.Type.TOKEN_INSUFFICIENT,
                        "nothing was added; this token does not allow this request");
        };
    }

    /** Health is always admitted: probes have no token, and may share an address with clients. */
    private static boolean isHealth(@Nullable RouteInfo<?> route) {
        return route instanceof MethodBasedRouteInfo<?, ?> endpoint
                && endpoint.getDeclaringType() == HealthEndpoint.class;
    }

    private static Right needed(HttpRequest<?> request, @Nullable RouteInfo<?> route) {
        HttpMethod method = request.getMethod();
        if (method == HttpMethod.OPTIONS) {
            return Right.NOTHING;
        }
        Right usual = method == HttpMethod.GET || method == HttpMethod.HEAD ? Right.READ : Right.WRITE;
        return route == null
                ? usual
                : route.getAnnotationMetadata()
                        .enumValue(Right.Needed.class, Right.class)
                        .orElse(usual);
    }

    private HttpResponse<?> refuse(HttpRequest<?> request, Problem.Type type, String detail) {
        refusals.count(type); // the counting filter does not see this filter's answers
        MutableHttpResponse<?> response = Problem.of(type, detail).response();
        if (type != Problem.Type.TOO_MANY_REQUESTS && Negotiation.prefersHtml(request)) {
            response.body(Page.problem(type)).contentType(Negotiation.HTML);
        }
        return response;
    }
}
