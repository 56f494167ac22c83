"""The source ``ben_cz`` by its import path of the first generation."""

from edeposit.amqp.harvester.scrappers.utils import functions_of

get_publications, self_test = functions_of("ben_cz")
