// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;

import io.micronaut.http.MediaType;
import io.micronaut.test.extensions.junit5.annotation.MicronautTest;
import io.micronaut.web.router.Router;
import io.micronaut.web.router.UriRouteInfo;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.TreeSet;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/**
 * The OpenAPI document and the running service agree on every operation, media type and property.
 * Each response that any test of this module receives through {@link Service#send} is checked
 * against the document, too.
 */
@MicronautTest
class OpenApiTest extends ServiceTest {

    private Description description;

    @BeforeAll
    void prepare() {
        service.send("POST", "/count/some%20counter");
        HttpResponse<String> response = service.send("GET", "/openapi.yml");
        assertThat(response.statusCode()).isEqualTo(200);
        assertThat(response.headers().firstValue("Content-Type")).contains("application/yaml");
        description = new Description(response.body());
    }

    @Test
    void describesTheIdempotencyWindow() {
        assertThat(service.send("GET", "/openapi.yml").body().replaceAll("\\\\\\s+\\\\", ""))
                .contains("remembers 100000 keys")
                .contains("86400 seconds");
    }

    @Test
    void describesEveryRoute() {
        TreeSet<String> routes = new TreeSet<>();
        service.bean(Router.class)
                .uriRoutes()
                .map((UriRouteInfo<?, ?> route) -> route.getHttpMethodName() + " "
                        + route.getUriMatchTemplate().toPathString().replaceAll(":[^}]*", ""))
                .filter(route -> !route.startsWith("HEAD "))
                .forEach(routes::add);
        routes.removeAll(List.of("GET /openapi.yml", "GET /robots.txt", "GET /health", "GET /health/{selector}"));
        routes.addAll(List.of("GET /health/liveness", "GET /health/readiness"));
        assertThat(description.operations().stream().map(o -> o.method() + " " + o.path()))
                .containsExactlyInAnyOrderElementsOf(routes);
    }

    /** What the filter for tokens and rates may answer, every operation but health may. */
    @Test
    void describesTheRefusalsOfEveryOperation() {
        for (Description.Operation operation : description.operations()) {
            if (!operation.path().startsWith("/health/")) {
                assertThat(description.map(operation.body(), "responses"))
                        .as("%s %s", operation.method(), operation.path())
                        .containsKeys("401", "403", "429", "4XX");
            }
        }
    }

    @TestFactory
    List<DynamicTest> everyOperationAnswersAsDescribed() {
        List<DynamicTest> tests = new ArrayList<>();
        for (Description.Operation operation : description.operations()) {
            String path = operation.path().replace("{name}", "some%20counter");
            for (String type : description
                    .map(operation.body(), "responses", "200", "content")
                    .keySet()) {
                tests.add(DynamicTest.dynamicTest(operation.method() + " " + operation.path() + " " + type, () -> {
                    HttpResponse<String> response = service.send(operation.method(), path, "Accept", type);
                    assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
                    assertThat(response.headers()
                                    .firstValue("Content-Type")
                                    .map(MediaType::new)
                                    .map(MediaType::getName))
                            .contains(type);
                    assertThat(description.violations(operation.method(), response))
                            .as(response.body())
                            .isEmpty();
                }));
            }
            if (path.startsWith("/count") || path.startsWith("/peers")) {
                tests.add(DynamicTest.dynamicTest(operation.method() + " " + operation.path() + " refused", () -> {
                    HttpResponse<String> response = service.send(operation.method(), path, "Accept", "image/png");
                    Service.assertProblem(response, 406, "not-acceptable", "not-applied");
                    assertThat(description.violations(operation.method(), response))
                            .as(response.body())
                            .isEmpty();
                }));
            }
        }
        assertThat(tests).hasSizeGreaterThan(20);
        return tests;
    }

    /** A generator makes a client's types and methods from these. */
    @Test
    void namesEveryMediaTypeAndSchemaForGenerators() {
        assertThat(service.send("GET", "/openapi.yml").body()).doesNotContain("*/*");
        assertThat(description.at("components", "schemas").keySet()).noneMatch(name -> name.contains("Controller"));
        assertThat(description.operations().stream()
                        .map(operation -> operation.body().get("operationId")))
                .doesNotContainNull()
                .doesNotHaveDuplicates();
    }

    @Test
    void describesEveryProblem() {
        List<?> described = (List<?>) requireNonNull(description
                .at("components", "schemas", "Problem", "properties", "type")
                .get("enum"));
        assertThat(described.stream().map(Object::toString))
                .containsExactlyInAnyOrderElementsOf(Arrays.stream(Problem.Type.values())
                        .map(Problem.Type::toString)
                        .toList());
    }

    @Test
    void aResponseThatDeviatesFromTheDocumentIsFound() {
        HttpResponse<String> count = service.send("GET", "/count", "Accept", "application/json");
        String yaml = service.send("GET", "/openapi.yml").body();
        assertThat(new Description(yaml).violations("GET", count)).isEmpty();
        assertThat(new Description(yaml.replace("final", "finale")).violations("GET", count))
                .anyMatch(violation -> violation.contains("final"));
        assertThat(new Description(yaml.replace("application/json", "application/xml")).violations("GET", count))
                .containsExactly("the type application/json is not described");
        assertThat(new Description(yaml.replace("no-store", "no-cache")).violations("GET", count))
                .anyMatch(violation -> violation.startsWith("Cache-Control "));
    }
}
