// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;

import io.micronaut.http.MediaType;
import io.micronaut.json.tree.JsonNode;
import io.micronaut.test.extensions.junit5.annotation.MicronautTest;
import io.micronaut.web.router.Router;
import io.micronaut.web.router.UriRouteInfo;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.yaml.snakeyaml.Yaml;

/**
 * The OpenAPI document and the running service agree on every operation, media type and property.
 */
@MicronautTest
class OpenApiTest extends ServiceTest {

    private Map<String, Object> description;

    @BeforeAll
    void prepare() {
        service.send("POST", "/count/some%20counter");
        HttpResponse<String> response = service.send("GET", "/openapi.yml");
        assertThat(response.statusCode()).isEqualTo(200);
        assertThat(response.headers().firstValue("Content-Type")).contains("application/yaml");
        description = new Yaml().load(response.body());
    }

    @Test
    void describesTheIdempotencyWindow() {
        assertThat(service.send("GET", "/openapi.yml").body().replaceAll("\\\\\\s+\\\\", ""))
                .contains("the newest 100000 keys")
                .contains("86400 seconds");
    }

    @Test
    void describesEveryRoute() {
        TreeSet<String> routes = new TreeSet<>();
        service.bean(Router.class)
                .uriRoutes()
                .map((UriRouteInfo<?, ?> route) -> route.getHttpMethodName().toLowerCase(java.util.Locale.ROOT) + " "
                        + route.getUriMatchTemplate().toPathString().replaceAll(":[^}]*", ""))
                .filter(route -> !route.startsWith("head "))
                .forEach(routes::add);
        routes.removeAll(List.of("get /openapi.yml", "get /robots.txt", "get /health", "get /health/{selector}"));
        routes.addAll(List.of("get /health/liveness", "get /health/readiness"));
        assertThat(operations().stream().map(o -> o.method + " " + o.path)).containsExactlyInAnyOrderElementsOf(routes);
    }

    @TestFactory
    List<DynamicTest> everyOperationAnswersAsDescribed() {
        List<DynamicTest> tests = new ArrayList<>();
        for (Operation operation : operations()) {
            Map<String, Object> content = at(operation.body, "responses", "200", "content");
            for (String type : content.keySet()) {
                tests.add(DynamicTest.dynamicTest(operation.method + " " + operation.path + " " + type, () -> {
                    HttpResponse<String> response = service.send(
                            operation.method.toUpperCase(java.util.Locale.ROOT),
                            operation.path.replace("{name}", "some%20counter"),
                            "Accept",
                            type);
                    assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
                    assertThat(response.headers()
                                    .firstValue("Content-Type")
                                    .map(MediaType::new)
                                    .map(MediaType::getName))
                            .contains(type);
                    if (type.equals("application/json")) {
                        conforms("answer", Service.json(response), at(content, type, "schema"));
                    }
                }));
            }
            if (operation.path.startsWith("/count") || operation.path.startsWith("/peers")) {
                tests.add(DynamicTest.dynamicTest(operation.method + " " + operation.path + " refused", () -> {
                    HttpResponse<String> response = service.send(
                            operation.method.toUpperCase(java.util.Locale.ROOT),
                            operation.path.replace("{name}", "a"),
                            "Accept",
                            "image/png");
                    assertThat(response.statusCode()).isEqualTo(406);
                    conforms(
                            "problem",
                            Service.json(response),
                            at(operation.body, "responses", "4XX", "content", "application/problem+json", "schema"));
                }));
            }
        }
        assertThat(tests).hasSizeGreaterThan(20);
        return tests;
    }

    @Test
    void describesEveryProblem() {
        List<?> described =
                (List<?>) requireNonNull(at(description, "components", "schemas", "Problem", "properties", "type")
                        .get("enum"));
        assertThat(described.stream().map(Object::toString))
                .containsExactlyInAnyOrderElementsOf(java.util.Arrays.stream(Problem.Type.values())
                        .map(Problem.Type::toString)
                        .toList());
    }

    private record Operation(String path, String method, Map<String, Object> body) {}

    private List<Operation> operations() {
        List<Operation> operations = new ArrayList<>();
        for (Map.Entry<String, Object> path : at(description, "paths").entrySet()) {
            for (Map.Entry<String, Object> method : map(path.getValue()).entrySet()) {
                operations.add(new Operation(path.getKey(), method.getKey(), map(method.getValue())));
            }
        }
        return operations;
    }

    /**
     * Requires that a value has the type of its schema, all required properties and no others than
     * the schema has.
     */
    private void conforms(String where, JsonNode value, Map<String, Object> schema) {
        Object reference = schema.get("$ref");
        if (reference != null) {
            String name = reference.toString().substring("#/components/schemas/".length());
            conforms(where, value, at(description, "components", "schemas", name));
            return;
        }
        if (value.isNull()) {
            assertThat(schema).as(where).containsEntry("nullable", true);
            return;
        }
        String type = String.valueOf(schema.get("type"));
        switch (type) {
            case "object" -> {
                assertThat(value.isObject()).as(where).isTrue();
                if (schema.get("properties") == null) {
                    return;
                }
                Map<String, Object> properties = at(schema, "properties");
                List<String> present = new ArrayList<>();
                value.entries().forEach(entry -> {
                    present.add(entry.getKey());
                    assertThat(properties).as(where).containsKey(entry.getKey());
                    conforms(where + "." + entry.getKey(), entry.getValue(), at(properties, entry.getKey()));
                });
                if (schema.get("required") instanceof List<?> required) {
                    assertThat(present)
                            .as(where)
                            .containsAll(required.stream().map(Object::toString).toList());
                }
            }
            case "array" -> {
                assertThat(value.isArray()).as(where).isTrue();
                value.values().forEach(item -> conforms(where + "[]", item, at(schema, "items")));
            }
            case "integer", "number" -> assertThat(value.isNumber()).as(where).isTrue();
            case "boolean" -> assertThat(value.isBoolean()).as(where).isTrue();
            case "string" -> {
                assertThat(value.isString()).as(where).isTrue();
                if (schema.get("enum") instanceof List<?> words) {
                    assertThat(words.stream().map(Object::toString)).as(where).contains(value.getStringValue());
                }
            }
            default -> throw new AssertionError(where + " has the type " + type);
        }
    }

    private Map<String, Object> at(Map<String, Object> map, String... path) {
        Map<String, Object> found = map;
        for (String name : path) {
            assertThat(found).as(String.join(" ", path)).containsKey(name);
            found = map(requireNonNull(found.get(name)));
        }
        return found;
    }

    @SuppressWarnings("unchecked")
    private static Map<String, Object> map(Object value) {
        return (Map<String, Object>) value;
    }
}
