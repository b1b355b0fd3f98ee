// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.counterset.Counter;
import io.counterset.CounterStore;
import io.counterset.k8s.Peers;
import io.counterset.k8s.PeersReport;
import io.counterset.k8s.Replica;
import io.micronaut.http.HttpHeaders;
import io.micronaut.http.HttpRequest;
import io.micronaut.http.HttpResponse;
import io.micronaut.http.HttpStatus;
import io.micronaut.http.MediaType;
import io.micronaut.http.annotation.Controller;
import io.micronaut.http.annotation.Get;
import io.micronaut.http.annotation.Produces;
import io.swagger.v3.oas.annotations.Operation;
import io.swagger.v3.oas.annotations.headers.Header;
import io.swagger.v3.oas.annotations.media.Content;
import io.swagger.v3.oas.annotations.media.Schema;
import io.swagger.v3.oas.annotations.responses.ApiResponse;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/** Counts a visit and shows the count. */
@Controller
@Problem.Answers
@Produces({MediaType.TEXT_PLAIN, MediaType.TEXT_HTML, MediaType.APPLICATION_JSON, MediaType.ALL}) // Negotiation chooses
final class PageController {

    private static final long REPORT_TIMEOUT_MILLIS = 400;

    private final Counter counter;
    private final Replica replica;
    private final Peers peers;
    private final Page page;
    private final History history;
    private final Histories histories;
    private final Refusals refusals;
    private final Tokens tokens;

    PageController(
            CounterStore store,
            Replica replica,
            Peers peers,
            Page page,
            History history,
            Histories histories,
            Refusals refusals,
            Tokens tokens) {
        this.histories = histories;
        this.refusals = refusals;
        this.tokens = tokens;
        this.history = history;
        this.peers = peers;
        this.page = page;
        this.counter = store.counter(replica.mainCounter());
        this.replica = replica;
    }

    @Get("/")
    @Operation(
            summary = "Counts a visit on this replica and shows the count",
            description =
                    "A browser gets a page, other clients get a line of text. HEAD requests and prefetches do not count.")
    @ApiResponse(
            responseCode = "200",
            description = "The count",
            headers = {
                @Header(name = "Cache-Control", ref = "#/components/headers/CacheControl"),
                @Header(name = "Vary", ref = "#/components/headers/Vary")
            },
            content = {
                @Content(mediaType = MediaType.APPLICATION_JSON, schema = @Schema(ref = "#/components/schemas/Count")),
                @Content(mediaType = MediaType.TEXT_PLAIN, schema = @Schema(ref = "#/components/schemas/Text")),
                @Content(mediaType = MediaType.TEXT_HTML, schema = @Schema(ref = "#/components/schemas/Text"))
            })
    @ApiResponse(
            responseCode = "307",
            description = "A browser left out the last slash of a context path; nothing is counted yet")
    @ApiResponse(
            responseCode = "5XX",
            description = "A problem; a browser gets the page, which states that the visit was not counted",
            headers = {
                @Header(name = "Cache-Control", ref = "#/components/headers/CacheControl"),
                @Header(name = "Retry-After", ref = "#/components/headers/RetryAfter")
            },
            content = {
                @Content(mediaType = Problem.MEDIA_TYPE, schema = @Schema(ref = "#/components/schemas/Problem")),
                @Content(mediaType = MediaType.TEXT_HTML, schema = @Schema(ref = "#/components/schemas/Text"))
            })
    CompletionStage<HttpResponse<?>> visit(HttpRequest<?> request) {
        MediaType type = Negotiation.negotiate(request, Negotiation.TEXT, Negotiation.HTML, Negotiation.JSON);
        boolean html = type.equals(Negotiation.HTML);
        if (html && !request.getPath().endsWith("/")) {
            return CompletableFuture.completedFuture(addSlash(request));
        }
        if (!Visits.isVisit(request)) {
            return html
                    ? page(request, counter.value(), false)
                    : CompletableFuture.completedFuture(show(type, counter.value()));
        }
        if (tokens.check(request, Right.WRITE) != Tokens.Verdict.ALLOWED) { // a visit is an increment
            Problem unpermitted = Problem.of(Problem.Type.TOKEN_REQUIRED, null);
            return html
                    ? page(request, counter.value(), false, HttpStatus.OK.getCode(), unpermitted)
                    : CompletableFuture.completedFuture(show(type, counter.value()));
        }
        CompletionStage<Long> visit = counter.addAsync(1);
        if (!html) {
            return visit.handleAsync(
                    (total, failure) -> failure == null
                            ? show(type, total)
                            : Problem.ofAdd(failure).response(),
                    CountController.eventLoop(request));
        }
        return visit.handleAsync(
                        (total, failure) ->
                                failure == null ? page(request, total, true) : refuse(request, Problem.ofAdd(failure)),
                        CountController.eventLoop(request))
                .thenCompose(page -> page);
    }

    /**
     * Redirects from a context path without its last slash, because the page's relative links would
     * leave it. The visit is counted after that.
     */
    private static HttpResponse<?> addSlash(HttpRequest<?> request) {
        String path = request.getUri().getRawPath();
        String query = request.getUri().getRawQuery();
        return HttpResponse.status(HttpStatus.TEMPORARY_REDIRECT)
                .header(
                        HttpHeaders.LOCATION,
                        "./" + path.substring(path.lastIndexOf('/') + 1) + "/" + (query == null ? "" : "?" + query))
                .header(HttpHeaders.CACHE_CONTROL, "no-store")
                .header(HttpHeaders.VARY, HttpHeaders.ACCEPT);
    }

    /**
     * Answers with the page, which states why the visit was not counted. Counts the problem here,
     * because the filter does not see it.
     */
    private CompletionStage<HttpResponse<?>> refuse(HttpRequest<?> request, Problem problem) {
        refusals.count(problem.type());
        return page(request, counter.value(), false, problem.status(), problem);
    }

    private HttpResponse<?> show(MediaType type, long count) {
        if (type.equals(Negotiation.TEXT)) {
            return Negotiation.uncached(type, counter.name() + " " + count + " on " + replica.instance() + "\n");
        }
        return Negotiation.uncached(type, replica.count(counter.name(), count));
    }

    private CompletionStage<HttpResponse<?>> page(HttpRequest<?> request, long count, boolean counted) {
        return page(request, count, counted, HttpStatus.OK.getCode(), null);
    }

    /**
     * Answers with the page. It waits only briefly for other replicas, then shows their last known
     * counts; its script updates them later. Rendering runs on the connection's event loop, never
     * on the JVM's timer thread.
     */
    private CompletionStage<HttpResponse<?>> page(
            HttpRequest<?> request, long count, boolean counted, int status, @Nullable Problem problem) {
        CompletableFuture<Optional<PeersReport>> report = briefly(peers.report());
        CompletableFuture<Optional<List<Histories.Report>>> all = briefly(histories.all());
        return report.thenCombineAsync(
                all,
                (found, grown) -> Negotiation.uncached(
                                Negotiation.HTML,
                                page.render(
                                        count,
                                        counted,
                                        problem,
                                        found.or(peers::latest).orElse(null),
                                        grown.or(histories::latest)
                                                .map(page::histories)
                                                .orElseGet(() -> page.history(history))))
                        .status(status)
                        .header("Content-Security-Policy", page.contentSecurityPolicy())
                        .header("X-Content-Type-Options", "nosniff")
                        .header("Referrer-Policy", "no-referrer"),
                CountController.eventLoop(request));
    }

    private static <T> CompletableFuture<Optional<T>> briefly(CompletionStage<T> stage) {
        return stage.toCompletableFuture()
                .<Optional<T>>thenApply(Optional::of)
                .completeOnTimeout(Optional.empty(), REPORT_TIMEOUT_MILLIS, TimeUnit.MILLISECONDS)
                .exceptionally(failure -> Optional.empty());
    }
}
