// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.counterset.k8s.Peers;
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
import io.swagger.v3.oas.annotations.media.Content;
import io.swagger.v3.oas.annotations.media.Schema;
import io.swagger.v3.oas.annotations.responses.ApiResponse;
import java.util.concurrent.CompletionStage;

/** Receives the message of peers that are stopping. */
@Controller
@Problem.Answers
@Produces({MediaType.APPLICATION_JSON, MediaType.TEXT_PLAIN, MediaType.ALL}) // Negotiation chooses
final class FarewellController {

    private final Peers peers;
    private final Replica replica;

    FarewellController(Peers peers, Replica replica) {
        this.peers = peers;
        this.replica = replica;
    }

    @Get("/peers/farewell/" + CounterName.SEGMENT)
    @Right.Needed(Right.PEERS)
    @Operation(
            summary = "Tells this replica that another one is stopping and no longer counts",
            description =
                    "This replica then asks the stopping one for its final counts, at the address in its own list of replicas,"
                            + " and answers once it remembers them. Nothing else in the request is trusted.",
            parameters = {
                @Parameter(
                        name = "name",
                        in = ParameterIn.PATH,
                        required = true,
                        description = "The instance name of the replica that is stopping",
                        schema = @Schema(type = "string"))
            })
    @ApiResponse(
            responseCode = "200",
            description = "This replica's own count of the main counter",
            content = {
                @Content(mediaType = MediaType.APPLICATION_JSON, schema = @Schema(ref = "#/components/schemas/Count")),
                @Content(mediaType = MediaType.TEXT_PLAIN, schema = @Schema(ref = "#/components/schemas/Text"))
            })
    CompletionStage<HttpResponse<?>> farewell(HttpRequest<?> request) {
        MediaType type = Negotiation.negotiate(request, Negotiation.JSON, Negotiation.TEXT);
        return PeersController.answer(request, peers.hearFarewell(CounterName.of(request)), heard -> {
            Replica.Count own = replica.count(replica.mainCounter());
            return Negotiation.uncached(type, type.equals(Negotiation.TEXT) ? own.count() + "\n" : own);
        });
    }
}
