"""PySpark's half of a test: `REMOTE fit IN OUT` indexes species and saves the rows; `REMOTE evaluate SCORED` reads predictions."""

import json
import os
import sys
import warnings

warnings.filterwarnings("ignore")

from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.feature import IndexToString, StringIndexer
from pyspark.sql import SparkSession

spark = SparkSession.builder.remote(sys.argv[1]).getOrCreate()
if sys.argv[2] == "fit":
    rows = spark.table(sys.argv[3])
    model = StringIndexer(inputCol="species", outputCol="label", stringOrderType="alphabetDesc").fit(rows)
    model.transform(rows).write.saveAsTable(sys.argv[4])
    print(json.dumps({"labels": list(model.labels)}))
else:
    scored = spark.table(sys.argv[3])
    metrics = ["accuracy", "f1", "logLoss"]
    evaluated = {name: MulticlassClassificationEvaluator(metricName=name).evaluate(scored) for name in metrics}
    named = IndexToString(inputCol="prediction", outputCol="name").transform(scored)
    evaluated["named"] = named.where("name = predictedLabel").count()
    evaluated["metadata"] = scored.schema["prediction"].metadata
    evaluated["vector"] = type(scored.select("probability").head()[0]).__name__
    print(json.dumps(evaluated))
sys.stdout.flush()
# At a usual end PySpark asks the server to delete its models when gRPC may be gone already, and waits for ever.
os._exit(0)
