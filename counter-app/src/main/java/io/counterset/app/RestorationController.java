// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.counterset.k8s.Peers;
import io.counterset.k8s.Replica;
import io.counterset.k8s.Restoration;
import io.micronaut.http.HttpRequest;
import io.micronaut.http.HttpResponse;
import io.micronaut.http.MediaType;
import io.micronaut.http.annotation.Consumes;
import io.micronaut.http.annotation.Controller;
import io.micronaut.http.annotation.Get;
import io.micronaut.http.annotation.Post;
import io.micronaut.http.annotation.Produces;
import io.micronaut.http.annotation.QueryValue;
import io.micronaut.serde.annotation.Serdeable;
import io.swagger.v3.oas.annotations.Operation;
import io.swagger.v3.oas.annotations.Parameter;
import io.swagger.v3.oas.annotations.enums.ParameterIn;
import io.swagger.v3.oas.annotations.media.Content;
import io.swagger.v3.oas.annotations.media.Schema;
import io.swagger.v3.oas.annotations.responses.ApiResponse;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import org.jspecify.annotations.Nullable;

/** Returns remembered losses of peers, restores this replica's lost counts, and forgets peers. */
@Controller
@Problem.Answers
@Produces({MediaType.APPLICATION_JSON, MediaType.TEXT_PLAIN, MediaType.ALL}) // Negotiation chooses
final class RestorationController {

    private final Peers peers;

    RestorationController(Peers peers) {
        this.peers = peers;
    }

    @Get("/peers/losses/" + CounterName.SEGMENT)
    @Right.Needed(Right.PEERS)
    @Operation(
            summary = "Returns the losses of another replica that this one remembers",
            parameters = {
                @Parameter(
                        name = "name",
                        in = ParameterIn.PATH,
                        required = true,
                        description = "The instance name of the replica that lost them",
                        schema = @Schema(type = "string"))
            })
    @ApiResponse(
            responseCode = "200",
            description = "The losses, the main counter's first",
            content = {
                @Content(mediaType = MediaType.APPLICATION_JSON, schema = @Schema(ref = "#/components/schemas/Losses")),
                @Content(mediaType = MediaType.TEXT_PLAIN, schema = @Schema(ref = "#/components/schemas/Text"))
            })
    HttpResponse<?> losses(HttpRequest<?> request) {
        Query.allow(request);
        MediaType type = Negotiation.negotiate(request, Negotiation.JSON, Negotiation.TEXT);
        Restoration.Losses losses = peers.losses(CounterName.of(request));
        return Negotiation.uncached(type, type.equals(Negotiation.TEXT) ? losses.toText() : losses);
    }

    @Post("/peers/restore")
    @Consumes(MediaType.ALL)
    @Operation(
            summary = "Restores the counts that this replica lost with former volumes and its peers remember",
            description =
                    "Each loss is restored exactly once, whichever peers remember it and however often this is called.")
    @ApiResponse(
            responseCode = "200",
            description = "The outcome for each loss; the counts are durable",
            content = {
                @Content(
                        mediaType = MediaType.APPLICATION_JSON,
                        schema = @Schema(ref = "#/components/schemas/Restoration")),
                @Content(mediaType = MediaType.TEXT_PLAIN, schema = @Schema(ref = "#/components/schemas/Text"))
            })
    CompletionStage<HttpResponse<?>> restore(
            HttpRequest<?> request,
            @QueryValue
                    @Nullable
                    @Parameter(description = "The peer to ask, an instance or an address of /peers; default all")
                    String from,
            @QueryValue("dry-run")
                    @Nullable
                    @Parameter(
                            description = "Whether to change nothing",
                            schema = @Schema(allowableValues = {"true", "false"}))
                    String dryRun,
            @QueryValue
                    @Nullable
                    @Parameter(
                            description =
                                    "Whether to restore even if this replica has already counted as much, or if the"
                                            + " record of what was restored before is missing",
                            schema = @Schema(allowableValues = {"true", "false"}))
                    String force) {
        Query.allow(request, "from", "dry-run", "force");
        MediaType type = Negotiation.negotiate(request, Negotiation.JSON, Negotiation.TEXT);
        return peers.restore(from, isTrue("dry-run", dryRun), isTrue("force", force))
                .handle((result, failure) -> {
                    if (failure == null) {
                        return Negotiation.uncached(type, type.equals(Negotiation.TEXT) ? result.toText() : result);
                    }
                    Throwable cause = failure instanceof CompletionException ? failure.getCause() : failure;
                    return cause instanceof IllegalArgumentException
                            ? Problem.of(Problem.Type.BAD_REQUEST, cause.getMessage())
                                    .response()
                            : PeersController.problem(failure).response();
                });
    }

    /**
     * The result of forgetting a replica.
     *
     * @param instance the replica
     * @param forgotten whether anything was remembered of it
     */
    @Serdeable
    record Forgotten(String instance, boolean forgotten) {}

    @Post("/peers/forget/" + CounterName.SEGMENT)
    @Consumes(MediaType.ALL)
    @Operation(
            summary = "Forgets everything that this replica remembers of another one",
            description =
                    "If the other replica answers again, it is remembered as new. Each replica has its own memory.",
            parameters = {
                @Parameter(
                        name = "name",
                        in = ParameterIn.PATH,
                        required = true,
                        description = "The instance name of the replica to forget",
                        schema = @Schema(type = "string"))
            })
    @ApiResponse(
            responseCode = "200",
            description = "The replica is forgotten, even after a restart",
            content = {
                @Content(
                        mediaType = MediaType.APPLICATION_JSON,
                        schema = @Schema(ref = "#/components/schemas/Forgotten")),
                @Content(mediaType = MediaType.TEXT_PLAIN, schema = @Schema(ref = "#/components/schemas/Text"))
            })
    CompletionStage<HttpResponse<?>> forget(HttpRequest<?> request) {
        Query.allow(request);
        MediaType type = Negotiation.negotiate(request, Negotiation.JSON, Negotiation.TEXT);
        String instance = CounterName.of(request);
        return PeersController.answer(
                request,
                peers.forget(instance),
                forgotten -> Negotiation.uncached(
                        type,
                        type.equals(Negotiation.TEXT)
                                ? (forgotten ? "forgotten: " : "nothing remembered: ") + Replica.escaped(instance)
                                        + "\n"
                                : new Forgotten(instance, forgotten)));
    }

    private static boolean isTrue(String name, @Nullable String value) {
        if (value == null || value.equals("true") || value.equals("false")) {
            return "true".equals(value);
        }
        throw new Problem.Refusal(
                Problem.Type.BAD_REQUEST, name + ": '" + value + "' is invalid; expected true or false");
    }
}
