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

/** What replicas remember of one another: tells it, gives lost counts back, and forgets. */
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
            summary = "Returns what this replica remembers of counts that another one lost",
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
        MediaType type = Negotiation.best(request, Negotiation.JSON, Negotiation.TEXT);
        Restoration.Losses losses = peers.losses(CounterName.of(request));
        return Negotiation.fresh(type, type.equals(Negotiation.TEXT) ? losses.toText() : losses);
    }

    @Post("/peers/restore")
    @Consumes(MediaType.ALL)
    @Operation(
            summary = "Gives this replica the counts back that its peers remember of volumes that it lost",
            description = "Exactly once: what was given back before is not added again, whichever peer remembers it.")
    @ApiResponse(
            responseCode = "200",
            description = "What was done for each loss; the counts are durable",
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
                    @Parameter(
                            description =
                                    "The peer to ask, an instance or an address of /peers; all of them if not given")
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
                            description = "Whether to add also where this replica counted as much already",
                            schema = @Schema(allowableValues = {"true", "false"}))
                    String force) {
        Query.allow(request, "from", "dry-run", "force");
        MediaType type = Negotiation.best(request, Negotiation.JSON, Negotiation.TEXT);
        return peers.restore(from, isTrue("dry-run", dryRun), isTrue("force", force))
                .handle((result, failure) -> {
                    if (failure == null) {
                        return Negotiation.fresh(type, type.equals(Negotiation.TEXT) ? result.toText() : result);
                    }
                    Throwable cause = failure instanceof CompletionException ? failure.getCause() : failure;
                    return cause instanceof IllegalArgumentException
                            ? Problem.of(Problem.Type.BAD_REQUEST, cause.getMessage())
                                    .response()
                            : Problem.of(Problem.Type.INTERNAL_ERROR, null).response();
                });
    }

    /**
     * What was forgotten.
     *
     * @param instance the replica
     * @param forgotten whether anything was remembered of it
     */
    @Serdeable
    record Forgotten(String instance, boolean forgotten) {}

    @Post("/peers/forget/" + CounterName.SEGMENT)
    @Consumes(MediaType.ALL)
    @Operation(
            summary = "Forgets what this replica remembers of another one",
            description = "If it answers again, it is remembered as it is then. Every replica remembers for itself.",
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
            description = "Nothing is remembered any more, also after a restart",
            content = {
                @Content(
                        mediaType = MediaType.APPLICATION_JSON,
                        schema = @Schema(ref = "#/components/schemas/Forgotten")),
                @Content(mediaType = MediaType.TEXT_PLAIN, schema = @Schema(ref = "#/components/schemas/Text"))
            })
    CompletionStage<HttpResponse<?>> forget(HttpRequest<?> request) {
        Query.allow(request);
        MediaType type = Negotiation.best(request, Negotiation.JSON, Negotiation.TEXT);
        String instance = CounterName.of(request);
        return peers.forget(instance)
                .thenApply(forgotten -> Negotiation.fresh(
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
