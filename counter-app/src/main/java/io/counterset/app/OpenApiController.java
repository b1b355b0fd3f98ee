// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import io.micronaut.http.HttpResponse;
import io.micronaut.http.MediaType;
import io.micronaut.http.annotation.Controller;
import io.micronaut.http.annotation.Get;
import io.micronaut.http.annotation.Produces;
import io.swagger.v3.oas.annotations.Hidden;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;

/** The OpenAPI document, generated from the controllers at compile time. */
@Hidden
@Controller
final class OpenApiController {

    /**
     * What the generator writes for {@code MediaType.ALL}, which lets {@link Negotiation} instead
     * of the framework choose.
     */
    private static final String ANY_TYPE = "(?m)^ +'\\*/\\*':\\R +schema:\\R +\\$ref: .*\\R";

    private final String description;

    OpenApiController(CounterSettings settings) throws IOException {
        String file = "/META-INF/swagger/openapi.yml";
        try (InputStream in = OpenApiController.class.getResourceAsStream(file)) {
            if (in == null) {
                throw new FileNotFoundException(file);
            }
            description = new String(in.readAllBytes(), StandardCharsets.UTF_8)
                    .replaceAll(ANY_TYPE, "")
                    .replace("MAX_KEYS", Integer.toString(settings.idempotency().maxKeys()))
                    .replace("MAX_AGE", settings.idempotency().maxAge().toSeconds() + " seconds");
        }
    }

    @Get("/openapi.yml")
    @Right.Needed(Right.NOTHING)
    @Produces(MediaType.ALL)
    HttpResponse<String> description() {
        return HttpResponse.ok(description).contentType(new MediaType("application/yaml"));
    }
}
