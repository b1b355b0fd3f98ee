// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.counterset.k8s.Peers;
import io.counterset.k8s.PeersReport;
import io.counterset.k8s.Replica;
import io.micronaut.http.HttpRequest;
import io.micronaut.http.HttpResponse;
import io.micronaut.http.MediaType;
import io.micronaut.http.annotation.Controller;
import io.micronaut.http.annotation.Get;
import io.micronaut.http.annotation.Produces;
import io.swagger.v3.oas.annotations.Operation;
import io.swagger.v3.oas.annotations.Parameter;
import io.swagger.v3.oas.annotations.enums.ParameterIn;
import io.swagger.v3.oas.annotations.headers.Header;
import io.swagger.v3.oas.annotations.media.Content;
import io.swagger.v3.oas.annotations.media.Schema;
import io.swagger.v3.oas.annotations.responses.ApiResponse;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.RejectedExecutionException;
import java.util.function.Function;

/** The counts of all replicas. */
@Controller
@Problem.Answers
@Produces({MediaType.APPLICATION_JSON, MediaType.TEXT_PLAIN, MediaType.TEXT_HTML, MediaType.ALL}) // Negotiation chooses
final class PeersController {

    private final Peers peers;
    private final Replica replica;
    private final Page page;
    private final NewCounters newCounters;

    PeersController(Peers peers, Replica replica, Page page, NewCounters newCounters) {
        this.page = page;
        this.newCounters = newCounters;
        this.peers = peers;
        this.replica = replica;
    }

    @Get("/peers")
    @Operation(
            summary = "Returns the main counter's count on every replica",
            description =
                    "Asks all replicas. However many clients ask, a replica asks each peer at most four times a second about the main counter and four times a second about all others. Plain text is a table. HTML is the section of the page.")
    @ApiResponse(
            responseCode = "200",
            description = "The report, including whether it is complete",
            headers = {
                @Header(name = "Cache-Control", ref = "#/components/headers/CacheControl"),
                @Header(name = "Vary", ref = "#/components/headers/Vary")
            },
            content = {
                @Content(
                        mediaType = MediaType.APPLICATION_JSON,
                        schema = @Schema(ref = "#/components/schemas/PeersReport")),
                @Content(mediaType = MediaType.TEXT_PLAIN, schema = @Schema(ref = "#/components/schemas/Text")),
                @Content(mediaType = MediaType.TEXT_HTML, schema = @Schema(ref = "#/components/schemas/Text"))
            })
    CompletionStage<HttpResponse<?>> peers(HttpRequest<?> request) {
        CounterName.refuseEmpty(request);
        return report(request, replica.mainCounter());
    }

    @Get("/peers/" + CounterName.SEGMENT)
    @Operation(
            summary = "Returns a counter's count on every replica",
            parameters = {@Parameter(name = "name", in = ParameterIn.PATH, ref = "#/components/parameters/Name")})
    @ApiResponse(
            responseCode = "200",
            description = "The report, including whether it is complete",
            headers = {
                @Header(name = "Cache-Control", ref = "#/components/headers/CacheControl"),
                @Header(name = "Vary", ref = "#/components/headers/Vary")
            },
            content = {
                @Content(
                        mediaType = MediaType.APPLICATION_JSON,
                        schema = @Schema(ref = "#/components/schemas/PeersReport")),
                @Content(mediaType = MediaType.TEXT_PLAIN, schema = @Schema(ref = "#/components/schemas/Text")),
                @Content(mediaType = MediaType.TEXT_HTML, schema = @Schema(ref = "#/components/schemas/Text"))
            })
    CompletionStage<HttpResponse<?>> peersOf(HttpRequest<?> request) {
        return report(request, CounterName.of(request));
    }

    private CompletionStage<HttpResponse<?>> report(HttpRequest<?> request, String counter) {
        Query.allow(request);
        MediaType type = Negotiation.negotiate(request, Negotiation.JSON, Negotiation.TEXT, Negotiation.HTML);
        CompletionStage<PeersReport> report;
        try {
            if (!newCounters.isKnown(counter)) { // peers are not asked about names that a client made up
                throw new Problem.Refusal(
                        Problem.Type.UNKNOWN_COUNTER,
                        "this replica reports only counters that it has or its settings name; another replica may have it");
            }
            report = peers.report(counter);
        } catch (IllegalArgumentException e) {
            throw new Problem.Refusal(Problem.Type.BAD_COUNTER_NAME, e.getMessage());
        }
        if (type.equals(Negotiation.HTML)) {
            return answer(request, report, found -> Negotiation.fragment(page.report(found)));
        }
        return answer(
                request,
                report,
                found -> Negotiation.uncached(type, type.equals(Negotiation.TEXT) ? found.toTable() : found));
    }

    /**
     * Answers with a result about peers, in the request's event loop: many requests share one
     * report, and the thread that completes it should not render all their responses.
     */
    static <T> CompletionStage<HttpResponse<?>> answer(
            HttpRequest<?> request, CompletionStage<T> result, Function<T, HttpResponse<?>> response) {
        return result.handleAsync(
                (found, failure) -> failure == null
                        ? response.apply(found)
                        : problem(failure).response(),
                CountController.eventLoop(request));
    }

    static Problem problem(Throwable failure) {
        Throwable cause =
                failure instanceof CompletionException && failure.getCause() != null ? failure.getCause() : failure;
        if (cause instanceof Peers.StoppingException) {
            return Problem.of(Problem.Type.STOPPING, null);
        }
        return cause instanceof RejectedExecutionException
                ? Problem.of(Problem.Type.BUSY, cause.getMessage())
                : Problem.of(Problem.Type.INTERNAL_ERROR, null);
    }
}
