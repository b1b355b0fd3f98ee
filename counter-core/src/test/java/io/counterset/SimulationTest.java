package io.counterset;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class SimulationTest {

    @Test
    void everyPromiseHoldsWhateverTheDiskDoes() {
        Long one = Long.getLong("counterset.seed");
        if (one != null) {
            assertThat(Simulation.run(one, true)).as("seed %d", one).isNull();
            return;
        }
        long seeds = Long.getLong("counterset.seeds", 20_000);
        long began = System.nanoTime();
        for (long seed = 0; seed < seeds; seed++) {
            assertThat(Simulation.run(seed))
                    .as(
                            "seed %d; again: mvn -pl counter-core test -Dtest=SimulationTest -Dcounterset.seed=%d",
                            seed, seed)
                    .isNull();
        }
        System.out.printf("%,d seeds in %.1f s%n", seeds, (System.nanoTime() - began) / 1e9);
    }
}
