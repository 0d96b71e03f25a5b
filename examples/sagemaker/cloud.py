"""Runs a training job and an endpoint on Amazon SageMaker with boto3.

    python examples/sagemaker/cloud.py --bucket BUCKET --role ROLE --image IMAGE

Uploads `rec/*`, runs a training job, deploys its model, translates one sentence, draws
its attention weights and deletes the endpoint. Needs boto3 and an account. The
functions `training_job` and `request` need neither.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

# The channel of each file that `kseq data recordio` writes.
CHANNELS = {
    "train.rec": "train",
    "val.rec": "validation",
    "vocab.src.json": "vocab",
    "vocab.trg.json": "vocab",
}
METRICS = ["validation:bleu", "validation:perplexity", "train:perplexity"]


def training_job(
    name: str, image: str, role: str, bucket: str, hyperparameters: dict[str, Any]
) -> dict[str, Any]:
    """Returns the arguments of `create_training_job`."""
    return {
        "TrainingJobName": name,
        "RoleArn": role,
        "AlgorithmSpecification": {
            "TrainingImage": image,
            "TrainingInputMode": "File",
            "MetricDefinitions": [
                {"Name": metric, "Regex": f"{metric}=([0-9.e+-]+)"}
                for metric in METRICS
            ],
        },
        # SageMaker accepts only strings.
        "HyperParameters": {k: str(v) for k, v in hyperparameters.items()},
        "InputDataConfig": [
            {
                "ChannelName": channel,
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3Uri": f"s3://{bucket}/{channel}/",
                        "S3DataDistributionType": "FullyReplicated",
                    }
                },
            }
            for channel in dict.fromkeys(CHANNELS.values())
        ],
        "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/output"},
        # An interrupted job resumes from this folder.
        "CheckpointConfig": {"S3Uri": f"s3://{bucket}/checkpoints/{name}"},
        "ResourceConfig": {
            "InstanceType": "ml.c5.4xlarge",
            "InstanceCount": 1,
            "VolumeSizeInGB": 30,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 12 * 3600},
    }


def request(texts: list[str], attention: bool = False) -> dict[str, str]:
    """Returns the content type and the body of `invoke_endpoint`."""
    configuration = {"configuration": {"attention_matrix": "true"}} if attention else {}
    instances = [{"data": text, **configuration} for text in texts]
    return {
        "ContentType": "application/json",
        "Body": json.dumps({"instances": instances}),
    }


def main() -> None:
    """Uploads, trains, deploys, translates and deletes the endpoint."""
    parser = argparse.ArgumentParser(description="Run a SageMaker job and endpoint.")
    parser.add_argument("--bucket", required=True)
    parser.add_argument("--role", required=True, help="ARN of the execution role")
    parser.add_argument(
        "--image", required=True, help="image in ECR, built from the Dockerfile"
    )
    parser.add_argument(
        "--data", default="rec", help="folder that `kseq data recordio` has written"
    )
    parser.add_argument("--text", default="a man is riding a bike .")
    args = parser.parse_args()

    import boto3  # type: ignore[import-not-found]

    s3, sagemaker = boto3.client("s3"), boto3.client("sagemaker")
    for file, channel in CHANNELS.items():
        s3.upload_file(str(Path(args.data) / file), args.bucket, f"{channel}/{file}")

    name = f"kseq-{time.strftime('%Y-%m-%d-%H-%M-%S')}"
    settings = Path(__file__).with_name("hyperparameters.json")
    job = training_job(
        name, args.image, args.role, args.bucket, json.loads(settings.read_text())
    )
    sagemaker.create_training_job(**job)
    sagemaker.get_waiter("training_job_completed_or_stopped").wait(TrainingJobName=name)
    finished_job = sagemaker.describe_training_job(TrainingJobName=name)

    model = {
        "Image": args.image,
        "ModelDataUrl": finished_job["ModelArtifacts"]["S3ModelArtifacts"],
    }
    sagemaker.create_model(
        ModelName=name, PrimaryContainer=model, ExecutionRoleArn=args.role
    )
    variant = {
        "VariantName": "all",
        "ModelName": name,
        "InstanceType": "ml.c5.xlarge",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=[variant]
    )
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    try:
        sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name)
        response = boto3.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=name, **request([args.text], attention=True)
        )
        (prediction,) = json.loads(response["Body"].read())["predictions"]
        print(prediction["target"])
        draw(args.text, prediction, "attention.png")
    finally:
        # An endpoint costs money as long as it exists.
        sagemaker.delete_endpoint(EndpointName=name)
        sagemaker.delete_endpoint_config(EndpointConfigName=name)
        sagemaker.delete_model(ModelName=name)


def draw(text: str, prediction: dict[str, Any], path: str) -> None:
    """Draws the attention weights of a prediction."""
    from kseq.plotting import attention_map

    matrix = prediction["matrix"]  # (target, source)
    attention_map(text.split(), prediction["target"].split(), matrix, path=path)


if __name__ == "__main__":
    main()
